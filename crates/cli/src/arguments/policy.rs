use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Encoder, Endpoint, EndpointOnly};

/// `maestro policy`. A policy is named by its digest or the first digits of it, 8 at least.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// List the policies, newest first, and the slots that they serve in.
    List(EndpointOnly),
    /// Store the policy in a folder (`policy.json`, `policy.safetensors`) and print its digest.
    Push {
        /// The folder.
        folder: PathBuf,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Let a policy decide in a slot, from the next decision on.
    Activate {
        /// The policy.
        digest: String,
        /// The slot.
        #[arg(long, default_value = "default")]
        slot: String,
        /// Let it only score along, beside the active one.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Let the policy decide that did before.
    Rollback {
        /// The slot.
        #[arg(long, default_value = "default")]
        slot: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Estimate from finished episodes with an outcome what another policy would be worth.
    Compare(Compare),
}

/// `maestro policy compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// The policy to judge; the slot's shadow if none is named.
    #[arg(long)]
    pub candidate: Option<String>,
    /// The policy to judge it against; the slot's active one if none is named.
    #[arg(long)]
    pub active: Option<String>,
    /// Only episodes of this slot.
    #[arg(long, default_value = "default")]
    pub slot: String,
    /// Most finished episodes to read, the newest first.
    #[arg(long, default_value_t = 2_000)]
    pub limit: usize,
    /// Judge both as policies that sample every action instead of taking the most probable one.
    #[arg(long)]
    pub sampled: bool,
    /// What turns texts into vectors; that which the policies were made for.
    #[arg(long, value_enum, default_value = "static")]
    pub encoder: Encoder,
    /// Folder of the models that `maestro models pull` fetched.
    #[arg(long, env = "MAESTRO_MODELS")]
    pub models: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub endpoint: Endpoint,
}
