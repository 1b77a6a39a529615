use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use maestro_core::CoreError;
use maestro_proto::v1::{
    self,
    admin_service_server::{AdminService, AdminServiceServer},
};
use maestro_wire::{FromProto, ToProto};
use tonic::{Request, Response, Status};

use super::control::Control;
use crate::status::to_status;

pub(super) fn service(control: Arc<Control>) -> AdminServiceServer<impl AdminService> {
    AdminServiceServer::new(Admin(control))
}

struct Admin(Arc<Control>);

#[async_trait]
impl AdminService for Admin {
    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let grace = match request.into_inner().grace {
            Some(grace) => {
                Duration::from_proto(grace).map_err(|error| to_status(&error.under("grace")))?
            }
            None => self.0.drain_grace,
        };
        let control = Arc::clone(&self.0);
        // Goes on when the client leaves.
        let draining = tokio::spawn(async move {
            let unfinished = control.drain(grace).await;
            control.drained.cancel();
            unfinished
        });
        let unfinished = draining
            .await
            .map_err(|error| to_status(&CoreError::Internal(error.to_string())))?;
        Ok(Response::new(v1::DrainResponse { unfinished }))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let status = self.0.drainable.status();
        Ok(Response::new(v1::GetStatusResponse {
            service: status.service.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(self.0.started_at.to_proto()),
            draining: self.0.is_draining(),
            in_flight: status.in_flight,
            capacity: status.capacity,
            revision: status.revision,
            details: status.details.into_iter().collect(),
        }))
    }
}
