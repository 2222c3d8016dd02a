//! `resprout completions`: the script by which a shell completes commands, options and values.

use clap::Args;
use clap_complete::{Shell, generate};

use crate::failure::{Exit, Failure};
use crate::output;

/// Which shell.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell, for example: resprout completions bash > /etc/bash_completion.d/resprout
    pub shell: Shell,
}

/// Writes the script for `command` to stdout.
///
/// # Errors
/// If it is no text.
pub fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<Exit, Failure> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, command, name, &mut script);
    let script = String::from_utf8(script).map_err(|error| {
        let what = format!("cannot make the completions of {}", args.shell);
        Failure::new(what, error, "report this with the version of resprout")
    })?;
    output::line(script.trim_end());
    Ok(Exit::Done)
}
