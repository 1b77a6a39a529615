//! The crate's error.

/// Why the service cannot start or serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// A setting cannot be used.
    #[error("{setting} {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The rule.
        reason: &'static str,
    },
    /// A skill of the library does not parse.
    #[error(transparent)]
    Skill(#[from] maestro_skills::SkillError),
    /// The sandbox for code.
    #[error("sandbox: {0}")]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// The server or a client of it.
    #[error(transparent)]
    Rpc(#[from] maestro_rpc::RpcError),
}
