//! Statements: what texts become, and that no text does harm.

mod direct;
mod golden;
mod hostile;
mod precedence;
mod show_create;
mod split;
