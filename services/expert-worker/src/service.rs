//! `maestro.v1.ExpertService` over a [`Worker`].

use std::sync::Arc;

use async_trait::async_trait;
use maestro_core::{expert_call::ExpertCall, ports::Experts};
use maestro_proto::v1::{
    self,
    expert_service_server::{ExpertService, ExpertServiceServer},
};
use maestro_rpc::{failure_to_status, to_status};
use maestro_wire::{FromProto, ToProto};
use tonic::{Request, Response, Status};

use crate::worker::Worker;

/// The service, taking messages up to `max_message_bytes`.
pub(crate) fn expert_service(
    worker: Arc<Worker>,
    max_message_bytes: usize,
) -> ExpertServiceServer<impl ExpertService> {
    ExpertServiceServer::new(ExpertApi { worker }).max_decoding_message_size(max_message_bytes)
}

struct ExpertApi {
    worker: Arc<Worker>,
}

#[async_trait]
impl ExpertService for ExpertApi {
    async fn invoke(
        &self,
        request: Request<v1::InvokeRequest>,
    ) -> Result<Response<v1::InvokeResponse>, Status> {
        let call =
            ExpertCall::from_proto(request.into_inner()).map_err(|error| to_status(&error))?;
        let reply = self
            .worker
            .invoke(call)
            .await
            .map_err(|failure| failure_to_status(&failure))?;
        Ok(Response::new(reply.to_proto()))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        let experts = self
            .worker
            .list()
            .into_iter()
            .map(
                |(descriptor, instance, load)| v1::describe_response::ExpertEntry {
                    descriptor: Some(descriptor.to_proto()),
                    instance: instance.to_string(),
                    load: Some(load.to_proto()),
                },
            )
            .collect();
        Ok(Response::new(v1::DescribeResponse { experts }))
    }
}
