//! The documented walkthroughs, each over real processes and with a real driver: what an operator does, and what every
//! step must show. Numbers in comments are those of the documents' steps.

#[path = "../support/mod.rs"]
mod support;

mod steps;
mod w01_leaf_lost_and_back;
mod w02_attached_by_hand;
mod w03_pair_failover;
mod w04_pair_attached_by_hand;
mod w05_rebalance_watched;
mod w06_two_more_leaves;
mod w07_restart_in_order;
mod w08_rebalance_delay;
mod w09_rebalance_ended_in_copy;
mod w10_rebalance_ended_in_promote;
mod w11_rebalance_ended_in_drop;
mod w12_load_balanced;
mod w13_load_balanced_grows;
mod w14_switched_to_load_balanced;
mod w17_leader_lost_and_back;
mod w18_requests_meanwhile;
mod w19_split_brain_sync;
mod w20_split_brain_async;
mod w21_only_the_master_aggregator;
mod w22_even_split;
mod w24_orphans;
mod w25_failed_recovery;
mod zones;
