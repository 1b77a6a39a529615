//! The parent's side of one run: feeds it, reads it, ends it.

use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Child,
    sync::{Notify, oneshot},
};

use super::{Execution, Exit, Limits, SandboxError};

/// How long the pipes may stay open once the process is gone.
const DRAIN: Duration = Duration::from_secs(1);

/// Kills the group of a process unless it was waited for, after which its number may be another's.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _gone = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of `child`, or brings it about: at `timeout`, at more output than is kept, or
/// when the other end of `cancelled` is gone.
pub(crate) async fn supervise(
    mut child: Child,
    stdin: String,
    limits: Limits,
    timeout: Duration,
    cancelled: oneshot::Receiver<()>,
) -> Result<Execution, SandboxError> {
    let began = Instant::now();
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = Group(pid);
    let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async move {
        if let Some(mut input) = input {
            // A program need not read what it is given.
            let _unread = input.write_all(stdin.as_bytes()).await;
        }
    };
    let overflow = Notify::new();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut cut = None;
    let status = {
        let mut streams = Box::pin(async {
            tokio::join!(
                feed,
                keep(stdout, &mut out, limits.output_bytes, &overflow),
                keep(stderr, &mut err, limits.output_bytes, &overflow),
            )
        });
        let mut streamed = false;
        let (timer, mut cancelled) = (tokio::time::sleep(timeout), cancelled);
        tokio::pin!(timer);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = &mut streams, if !streamed => streamed = true,
                () = overflow.notified(), if cut.is_none() => {
                    cut = Some(Exit::TooMuchOutput);
                    group.kill();
                }
                () = &mut timer, if cut.is_none() => {
                    cut = Some(Exit::TimedOut);
                    group.kill();
                }
                _ = &mut cancelled, if cut.is_none() => {
                    cut = Some(Exit::TimedOut);
                    group.kill();
                }
            }
        };
        // What is left of the group, where the filter that forbids others is not there.
        group.kill();
        group.0 = None;
        if !streamed {
            let _late = tokio::time::timeout(DRAIN, streams).await;
        }
        status.map_err(SandboxError::io("waiting"))?
    };
    let most = usize::try_from(limits.output_bytes).unwrap_or(usize::MAX);
    let truncated = out.len() > most || err.len() > most;
    let text = |mut bytes: Vec<u8>| {
        bytes.truncate(most);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let exit = match cut {
        Some(cut) => cut,
        None if truncated => Exit::TooMuchOutput,
        None => ended(status, began.elapsed(), limits.cpu_seconds),
    };
    Ok(Execution {
        exit,
        stdout: text(out),
        stderr: text(err),
        truncated,
        wall: began.elapsed(),
    })
}

/// Reads up to one byte more than is kept, and says so there.
async fn keep(
    stream: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    most: u64,
    overflow: &Notify,
) {
    let Some(stream) = stream else { return };
    // What was read before an error is kept.
    let _partial = stream.take(most + 1).read_to_end(into).await;
    if into.len() as u64 > most {
        overflow.notify_one();
    }
}

/// The kernel ends a program that is out of processor time with SIGXCPU, one that ignores it with
/// SIGKILL a second later.
fn ended(status: ExitStatus, wall: Duration, cpu_seconds: u64) -> Exit {
    let killed = |signal: Signal| status.signal() == Some(signal.as_raw());
    let out_of_time =
        killed(Signal::XCPU) || (killed(Signal::KILL) && wall >= Duration::from_secs(cpu_seconds));
    match (status.code(), status.signal()) {
        _ if out_of_time => Exit::TimedOut,
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}
