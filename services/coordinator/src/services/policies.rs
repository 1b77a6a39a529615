use std::sync::Arc;

use async_trait::async_trait;
use maestro_core::{
    CoreError, Digest,
    ports::{Blobs, PolicyManifest, PolicyStore, Registry},
    registry::PolicySlot,
};
use maestro_proto::v1::{self, policy_admin_service_server::PolicyAdminService};
use maestro_wire::{FromProto, ToProto, policy_to_proto};
use tonic::{Request, Response, Status};

use super::{name, status};
use crate::admission::DEFAULT_SLOT;

/// `PolicyAdminService` over the policy store and the registry.
pub(crate) struct PolicyAdminApi {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) policies: Arc<dyn PolicyStore>,
    pub(crate) blobs: Arc<dyn Blobs>,
}

impl PolicyAdminApi {
    fn slot(&self, slot: &str) -> (String, Option<PolicySlot>) {
        let slot = if slot.is_empty() { DEFAULT_SLOT } else { slot }.to_owned();
        let current = self
            .registry
            .snapshots()
            .borrow()
            .policies
            .get(&slot)
            .cloned();
        (slot, current)
    }
}

/// The slot after making `digest` its active policy, or its shadow.
fn activated(
    current: Option<&PolicySlot>,
    digest: Digest,
    shadow: bool,
) -> Result<PolicySlot, CoreError> {
    match (current, shadow) {
        (Some(slot), true) => Ok(PolicySlot {
            shadow: Some(digest),
            ..slot.clone()
        }),
        (None, true) => Err(CoreError::FailedPrecondition(
            "a shadow needs an active policy beside it".to_owned(),
        )),
        (Some(slot), false) if slot.active == digest => Ok(slot.clone()),
        (Some(slot), false) => Ok(PolicySlot {
            active: digest,
            // A policy does not shadow itself.
            shadow: slot.shadow.filter(|shadow| *shadow != digest),
            previous: Some(slot.active),
        }),
        (None, false) => Ok(PolicySlot {
            active: digest,
            shadow: None,
            previous: None,
        }),
    }
}

/// The slot after going back to the policy before.
fn rolled_back(current: Option<&PolicySlot>) -> Result<PolicySlot, CoreError> {
    let nothing = || CoreError::FailedPrecondition("the slot has no policy before".to_owned());
    let slot = current.ok_or_else(nothing)?;
    let active = slot.previous.ok_or_else(nothing)?;
    Ok(PolicySlot {
        active,
        shadow: slot.shadow,
        previous: Some(slot.active),
    })
}

#[async_trait]
impl PolicyAdminService for PolicyAdminApi {
    async fn list_policies(
        &self,
        _: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        let policies = self.policies.list().await.map_err(status)?;
        let policies = policies
            .iter()
            .map(|(digest, manifest)| policy_to_proto(digest, manifest))
            .collect();
        let snapshots = self.registry.snapshots();
        let slots = snapshots
            .borrow()
            .policies
            .iter()
            .map(|(name, slot)| (name.clone(), slot.to_proto()))
            .collect();
        Ok(Response::new(v1::ListPoliciesResponse { policies, slots }))
    }

    async fn push_policy(
        &self,
        request: Request<v1::PushPolicyRequest>,
    ) -> Result<Response<v1::PushPolicyResponse>, Status> {
        let manifest = request
            .into_inner()
            .manifest
            .ok_or_else(|| status(CoreError::invalid("manifest", "must be set")))?;
        let manifest =
            PolicyManifest::from_proto(manifest).map_err(|e| status(e.under("manifest")))?;
        let weights = self.blobs.get(&manifest.weights).await.map_err(status)?;
        let digest = self
            .policies
            .push(manifest.clone(), weights)
            .await
            .map_err(status)?;
        let policy = Some(policy_to_proto(&digest, &manifest));
        Ok(Response::new(v1::PushPolicyResponse { policy }))
    }

    async fn activate_policy(
        &self,
        request: Request<v1::ActivatePolicyRequest>,
    ) -> Result<Response<v1::ActivatePolicyResponse>, Status> {
        let request = request.into_inner();
        let digest: Digest = name("digest", &request.digest)?;
        let known = self.policies.list().await.map_err(status)?;
        if !known.iter().any(|(known, _)| *known == digest) {
            return Err(status(CoreError::NotFound {
                kind: "policy",
                name: digest.to_string(),
            }));
        }
        let (slot, current) = self.slot(&request.slot);
        let new = activated(current.as_ref(), digest, request.shadow).map_err(status)?;
        self.registry
            .set_policy(&slot, current.as_ref(), &new)
            .await
            .map_err(status)?;
        tracing::info!(slot, policy = %digest, shadow = request.shadow, "policy activated");
        Ok(Response::new(v1::ActivatePolicyResponse {
            slot: Some(new.to_proto()),
        }))
    }

    async fn rollback_policy(
        &self,
        request: Request<v1::RollbackPolicyRequest>,
    ) -> Result<Response<v1::RollbackPolicyResponse>, Status> {
        let (slot, current) = self.slot(&request.into_inner().slot);
        let new = rolled_back(current.as_ref()).map_err(status)?;
        self.registry
            .set_policy(&slot, current.as_ref(), &new)
            .await
            .map_err(status)?;
        tracing::info!(slot, policy = %new.active, "policy rolled back");
        Ok(Response::new(v1::RollbackPolicyResponse {
            slot: Some(new.to_proto()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_undoes_an_activation() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = activated(None, a, false).unwrap();
        let second = activated(Some(&first), b, false).unwrap();
        assert_eq!(second.previous, Some(a));
        let back = rolled_back(Some(&second)).unwrap();
        assert_eq!((back.active, back.previous), (a, Some(b)));
        assert!(rolled_back(Some(&first)).is_err());
        assert!(rolled_back(None).is_err());
    }

    #[test]
    fn a_shadow_stands_beside_an_active_policy() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert!(activated(None, b, true).is_err());
        let slot = activated(None, a, false).unwrap();
        let slot = activated(Some(&slot), b, true).unwrap();
        assert_eq!((slot.active, slot.shadow), (a, Some(b)));
        let slot = activated(Some(&slot), b, false).unwrap();
        assert_eq!((slot.active, slot.shadow), (b, None));
    }
}
