//! `maestro.v1.SkillService` over a [`Runner`].

use std::sync::Arc;

use maestro_core::{ports::Skills, skill_run::SkillRun};
use maestro_proto::v1::{
    RunRequest, RunResponse,
    skill_service_server::{SkillService, SkillServiceServer},
};
use maestro_rpc::{failure_to_status, to_status};
use maestro_wire::{FromProto, ToProto};
use tonic::{Request, Response, Status};

use crate::runner::Runner;

/// The service, taking messages up to `max_message_bytes`.
pub fn skill_service(
    runner: Arc<Runner>,
    max_message_bytes: usize,
) -> SkillServiceServer<impl SkillService> {
    SkillServiceServer::new(Service { runner }).max_decoding_message_size(max_message_bytes)
}

struct Service {
    runner: Arc<Runner>,
}

#[tonic::async_trait]
impl SkillService for Service {
    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let run = SkillRun::from_proto(request.into_inner()).map_err(|error| to_status(&error))?;
        let observation = self
            .runner
            .run(run)
            .await
            .map_err(|failure| failure_to_status(&failure))?;
        Ok(Response::new(RunResponse {
            observation: Some(observation.to_proto()),
        }))
    }
}
