//! Steps that run code.

use std::time::Duration;

use maestro_core::episode::{Failure, FailureKind};
use serde_json::json;

use super::reply::StepOutput;
use crate::sandbox::{Execution, Exit, Program, Sandbox};

/// Runs Python. A program that fails is a result, one that cannot be begun a failure.
pub(crate) async fn run(
    sandbox: Option<&Sandbox>,
    source: String,
    stdin: String,
    timeout: Duration,
) -> Result<StepOutput, Failure> {
    let sandbox = sandbox.ok_or_else(|| {
        Failure::new(
            FailureKind::Unavailable,
            "this runner has no sandbox for code",
        )
    })?;
    let program = Program {
        source,
        stdin,
        // Ends before the step does, so that running out of time is a result too.
        timeout: Some(timeout.mul_f64(0.9)),
        ..Program::default()
    };
    Ok(output(&sandbox.run(program).await?))
}

fn output(done: &Execution) -> StepOutput {
    let code = match done.exit {
        Exit::Code(code) => Some(code),
        _ => None,
    };
    StepOutput {
        value: json!({
            "stdout": done.stdout,
            "stderr": done.stderr,
            "exit_code": code,
            "ok": code == Some(0),
            "timed_out": done.exit == Exit::TimedOut,
            "value": done.stdout.trim(),
        }),
        ..StepOutput::default()
    }
}
