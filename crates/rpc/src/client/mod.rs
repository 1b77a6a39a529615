//! Clients of the policy workers and the skill runners.

mod endpoints;
mod health;
mod policy;
mod resolve;
mod skill;

use serde::{Deserialize, Serialize};

use crate::pool::PoolConfig;

pub(crate) use endpoints::{Endpoints, Repeat};
pub use health::check_health;
pub use policy::PolicyClient;
pub use skill::SkillClient;

/// How a client over several endpoints behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Longest time of one call with its repetitions, in milliseconds; the call's own deadline
    /// may be earlier. `None` leaves it to the call's deadline.
    pub timeout_ms: Option<u64>,
    /// Longest time of one attempt at a request that changes nothing, in milliseconds; after it
    /// another server is asked. `None` leaves it to the call's time.
    pub attempt_timeout_ms: Option<u64>,
    /// Most times that a request is sent.
    pub max_attempts: u32,
    /// Pause before the second round over the endpoints, in milliseconds; doubles each round.
    pub backoff_ms: u64,
    /// Connections.
    pub pool: PoolConfig,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            timeout_ms: None,
            attempt_timeout_ms: None,
            max_attempts: 5,
            backoff_ms: 20,
            pool: PoolConfig::default(),
        }
    }
}

/// Configuration of a [`PolicyClient`].
pub type PolicyClientConfig = ClientConfig;
/// Configuration of a [`SkillClient`].
pub type SkillClientConfig = ClientConfig;
