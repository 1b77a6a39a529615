//! What callers and the lease thread say to each other, and the handle of a registration.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use maestro_core::{
    CoreError,
    ports::{InstanceSpec, Registration},
};
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use crate::keys::Key;

/// What the lease thread is asked to do.
pub(super) enum Command {
    /// Registers an instance.
    Register {
        spec: InstanceSpec,
        reply: oneshot::Sender<Result<EtcdRegistration, CoreError>>,
    },
    /// Ends a registration.
    Revoke {
        key: Key,
        handle: Weak<()>,
        reply: oneshot::Sender<Result<(), CoreError>>,
    },
    /// Ends the registrations whose handles are gone.
    Sweep,
}

impl Command {
    /// Whether somebody still waits for what comes of it.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Register { reply, .. } => !reply.is_closed(),
            Self::Revoke { reply, .. } => !reply.is_closed(),
            Self::Sweep => true,
        }
    }
}

/// Asks the lease thread to register an instance.
pub(super) async fn register(
    commands: &mpsc::Sender<Command>,
    spec: InstanceSpec,
    limit: Duration,
) -> Result<EtcdRegistration, CoreError> {
    let (reply, answer) = oneshot::channel();
    let mut registration = ask(commands, Command::Register { spec, reply }, answer, limit).await?;
    registration.wakes = Some(Wakes {
        commands: commands.clone(),
        limit,
    });
    Ok(registration)
}

async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: Command,
    answer: oneshot::Receiver<Result<T, CoreError>>,
    limit: Duration,
) -> Result<T, CoreError> {
    let gone = |reason: &str| CoreError::Unavailable {
        what: "etcd",
        reason: reason.into(),
    };
    let asked = async {
        commands
            .send(command)
            .await
            .map_err(|_| gone("the lease thread has ended"))?;
        answer
            .await
            .map_err(|_| gone("the lease thread has ended"))?
    };
    time::timeout(limit, asked)
        .await
        .map_err(|_| gone("the lease thread is busy"))?
}

/// A registration under the lease. It lasts as long as its handle does: one that is dropped is
/// removed soon after, also where the call that made it was cancelled.
pub(super) struct EtcdRegistration {
    key: Key,
    handle: Arc<()>,
    /// How to reach the lease thread; set by whoever asked for the registration.
    wakes: Option<Wakes>,
}

impl EtcdRegistration {
    pub(super) fn new(key: Key, handle: Arc<()>) -> Self {
        Self {
            key,
            handle,
            wakes: None,
        }
    }
}

struct Wakes {
    commands: mpsc::Sender<Command>,
    limit: Duration,
}

#[async_trait]
impl Registration for EtcdRegistration {
    async fn revoke(mut self: Box<Self>) -> Result<(), CoreError> {
        let Some(Wakes { commands, limit }) = self.wakes.take() else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        let (key, handle) = (self.key.clone(), Arc::downgrade(&self.handle));
        ask(
            &commands,
            Command::Revoke { key, handle, reply },
            answer,
            limit,
        )
        .await
    }
}

impl Drop for EtcdRegistration {
    fn drop(&mut self) {
        self.handle = Arc::new(());
        if let Some(wakes) = &self.wakes {
            // With a full queue the next renewal sweeps.
            let _ = wakes.commands.try_send(Command::Sweep);
        }
    }
}
