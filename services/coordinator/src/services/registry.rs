use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use maestro_core::{
    CoreError, Digest,
    ports::{Blobs, PutMode, Registry},
    registry::{Descriptor, Snapshot},
};
use maestro_proto::v1::{self, registry_service_server::RegistryService};
use maestro_wire::{FromProto, ToProto};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::{name, status};

/// `RegistryService` over the registry and the blob store.
pub(crate) struct RegistryApi {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) blobs: Arc<dyn Blobs>,
}

impl RegistryApi {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.registry.snapshots().borrow())
    }
}

fn mode(replace: bool) -> PutMode {
    if replace {
        PutMode::Replace
    } else {
        PutMode::Create
    }
}

#[async_trait]
impl RegistryService for RegistryApi {
    type WatchRegistryStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRegistryResponse, Status>> + Send>>;

    async fn register_expert(
        &self,
        request: Request<v1::RegisterExpertRequest>,
    ) -> Result<Response<v1::RegisterExpertResponse>, Status> {
        let request = request.into_inner();
        let descriptor = request
            .descriptor
            .ok_or_else(|| status(CoreError::invalid("descriptor", "must be set")))?;
        let descriptor =
            Descriptor::from_proto(descriptor).map_err(|e| status(e.under("descriptor")))?;
        let revision = self
            .registry
            .put_expert(&descriptor, mode(request.replace))
            .await
            .map_err(status)?;
        tracing::info!(expert = %descriptor.name, revision, "expert registered");
        Ok(Response::new(v1::RegisterExpertResponse { revision }))
    }

    async fn unregister_expert(
        &self,
        request: Request<v1::UnregisterExpertRequest>,
    ) -> Result<Response<v1::UnregisterExpertResponse>, Status> {
        let expert = name("name", &request.into_inner().name)?;
        let revision = self.registry.delete_expert(&expert).await.map_err(status)?;
        tracing::info!(%expert, revision, "expert unregistered");
        Ok(Response::new(v1::UnregisterExpertResponse { revision }))
    }

    async fn list_experts(
        &self,
        _: Request<v1::ListExpertsRequest>,
    ) -> Result<Response<v1::ListExpertsResponse>, Status> {
        let snapshot = self.snapshot();
        let (experts, revision) = (expert_entries(&snapshot), snapshot.revision);
        Ok(Response::new(v1::ListExpertsResponse { experts, revision }))
    }

    async fn register_skill(
        &self,
        request: Request<v1::RegisterSkillRequest>,
    ) -> Result<Response<v1::RegisterSkillResponse>, Status> {
        use v1::register_skill_request::Source;
        let request = request.into_inner();
        let (field, bundle, stored) = match request.source {
            Some(Source::Bundle(digest)) => {
                let digest: Digest = name("bundle", &digest)?;
                let bundle = self.blobs.get(&digest).await.map_err(status)?;
                ("bundle", bundle, true)
            }
            Some(Source::Content(bundle)) => ("content", bundle, false),
            None => {
                let reason = "one of bundle and content must be given";
                return Err(status(CoreError::invalid("source", reason)));
            }
        };
        let skill = maestro_skills::unpack(&bundle)
            .map_err(|error| status(CoreError::invalid(field, error.to_string())))?;
        if !stored {
            self.blobs.put(bundle).await.map_err(status)?;
        }
        let header = skill.header();
        let revision = self
            .registry
            .put_skill(&header, mode(request.replace))
            .await
            .map_err(status)?;
        tracing::info!(skill = %header.name, revision, "skill registered");
        let header = Some(header.to_proto());
        Ok(Response::new(v1::RegisterSkillResponse {
            header,
            revision,
        }))
    }

    async fn unregister_skill(
        &self,
        request: Request<v1::UnregisterSkillRequest>,
    ) -> Result<Response<v1::UnregisterSkillResponse>, Status> {
        let skill = name("name", &request.into_inner().name)?;
        let revision = self.registry.delete_skill(&skill).await.map_err(status)?;
        tracing::info!(%skill, revision, "skill unregistered");
        Ok(Response::new(v1::UnregisterSkillResponse { revision }))
    }

    async fn list_skills(
        &self,
        _: Request<v1::ListSkillsRequest>,
    ) -> Result<Response<v1::ListSkillsResponse>, Status> {
        let snapshot = self.snapshot();
        let skills = snapshot
            .catalogue
            .skills
            .values()
            .map(ToProto::to_proto)
            .collect();
        let revision = snapshot.revision;
        Ok(Response::new(v1::ListSkillsResponse { skills, revision }))
    }

    async fn watch_registry(
        &self,
        _: Request<v1::WatchRegistryRequest>,
    ) -> Result<Response<Self::WatchRegistryStream>, Status> {
        let states = WatchStream::new(self.registry.snapshots()).map(|snapshot| {
            Ok(v1::WatchRegistryResponse {
                revision: snapshot.revision,
                catalogue: snapshot
                    .digest
                    .map(|digest| digest.to_string())
                    .unwrap_or_default(),
                experts: expert_entries(&snapshot),
                skills: snapshot
                    .catalogue
                    .skills
                    .values()
                    .map(ToProto::to_proto)
                    .collect(),
            })
        });
        Ok(Response::new(Box::pin(states)))
    }
}

fn expert_entries(snapshot: &Snapshot) -> Vec<v1::ExpertEntry> {
    let instances = |expert| {
        snapshot
            .instances
            .get(expert)
            .map(|instances| instances.iter().map(ToProto::to_proto).collect())
            .unwrap_or_default()
    };
    snapshot
        .catalogue
        .experts
        .values()
        .map(|descriptor| v1::ExpertEntry {
            descriptor: Some(descriptor.to_proto()),
            instances: instances(&descriptor.name),
        })
        .collect()
}
