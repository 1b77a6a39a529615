//! How the connection to the registry does.

use std::time::{Duration, Instant};

/// State of a registry's connection. While it is down the last snapshot stays, so its age is what
/// [`RegistryHealth::age`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryHealth {
    /// Whether changes are being followed now.
    pub connected: bool,
    /// When the server was last heard of.
    pub last_contact: Instant,
    /// Whether this process holds its lease now, as far as it knows.
    pub leased: bool,
    /// Values met since the start that could not be read and were left out.
    pub unreadable: u64,
    /// How often the whole registry was listed since the start: once, and once after each loss of
    /// the watch.
    pub listings: u64,
}

impl RegistryHealth {
    pub(crate) fn new() -> Self {
        Self {
            connected: false,
            last_contact: Instant::now(),
            leased: false,
            unreadable: 0,
            listings: 0,
        }
    }

    /// How old the snapshot may be: the time since the last contact.
    pub fn age(&self) -> Duration {
        self.last_contact.elapsed()
    }
}
