//! `maestro.v1.PolicyService`.

use std::sync::Arc;

use async_trait::async_trait;
use maestro_core::ports::DecideRequest;
use maestro_proto::v1::{
    self,
    policy_service_server::{PolicyService, PolicyServiceServer},
};
use maestro_rpc::to_status;
use maestro_wire::{FromProto, ToProto};
use tonic::{Request, Response, Status};

use crate::worker::{PolicyWorker, Undecided};

/// The service over a worker.
pub(crate) fn policy_service(
    worker: Arc<PolicyWorker>,
    max_message_bytes: usize,
) -> PolicyServiceServer<impl PolicyService> {
    PolicyServiceServer::new(Service(worker)).max_decoding_message_size(max_message_bytes)
}

struct Service(Arc<PolicyWorker>);

#[async_trait]
impl PolicyService for Service {
    /// What no worker could decide is a failure in the reply; what this one could not is a status,
    /// so that the caller asks another.
    async fn decide(
        &self,
        request: Request<v1::DecideRequest>,
    ) -> Result<Response<v1::DecideResponse>, Status> {
        let request =
            DecideRequest::from_proto(request.into_inner()).map_err(|error| to_status(&error))?;
        let outcome = match self.0.decide_or_refuse(request).await {
            Ok(decision) => Ok(decision),
            Err(Undecided::Failed(failure)) => Err(failure),
            Err(Undecided::Refused(error)) => return Err(to_status(&error)),
        };
        Ok(Response::new(outcome.to_proto()))
    }

    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        Ok(Response::new(self.0.describe(&request.into_inner().slot)))
    }
}
