use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use maestro_core::{
    CoreError, InstanceId, MicroUsd,
    expert_call::{ExpertReply, Finding, Load, Usage},
    ids::ExpertName,
    ports::{InstanceSpec, PutMode, Registry},
    registry::{Descriptor, Limits, Modality, Price},
};
use maestro_proto::v1::{
    self,
    expert_service_server::{ExpertService, ExpertServiceServer},
};
use maestro_registry::{EtcdConfig, EtcdRegistry};
use maestro_rpc::{Drainable, ServeConfig, Server, ServiceStatus};
use maestro_wire::ToProto;
use tonic::{Request, Response, Status};

use crate::error::CliError;

/// Calls that the expert takes at once.
const CAPACITY: u32 = 4096;

/// An expert that answers at once: what is left of a step's time is Maestro's own.
pub(crate) async fn instant_expert(etcd: Vec<String>) -> Result<(), CliError> {
    let start = |error: String| CliError::Start {
        part: "instant expert",
        reason: error,
    };
    let registry = EtcdRegistry::connect(EtcdConfig::new(etcd))
        .await
        .map_err(|e| start(e.to_string()))?;
    let name = ExpertName::new("instant")?;
    let id = InstanceId::generate();
    let serve = ServeConfig::default();
    let listener = serve.bind().await?;
    let service = Instant {
        instance: id.clone(),
    };
    let server = Server::new(serve, Arc::new(Idle))
        .add_service(ExpertServiceServer::new(service))
        .serve(listener)
        .await?;
    registry
        .put_expert(&descriptor(&name)?, PutMode::Replace)
        .await?;
    let endpoint = format!("http://{}", server.address());
    let endpoint = endpoint
        .parse()
        .map_err(|error| start(format!("{error}")))?;
    let registration = registry
        .register(InstanceSpec {
            expert: name,
            id,
            endpoint,
            capacity: CAPACITY,
        })
        .await?;
    println!("ready http://{}", server.address());
    maestro_rpc::shutdown_signal().await?;
    registration.revoke().await?;
    server.drain(Duration::from_secs(1)).await;
    Ok(())
}

fn descriptor(name: &ExpertName) -> Result<Descriptor, CoreError> {
    Ok(Descriptor {
        name: name.clone(),
        description: "Answers any question at once; for measurements.".to_owned(),
        capabilities: ["chat".parse()?].into(),
        modalities: [Modality::Text].into(),
        price: Some(Price {
            per_call: MicroUsd::ZERO,
            ..Price::default()
        }),
        limits: Limits {
            max_concurrency: CAPACITY,
            ..Limits::default()
        },
        typical_latency_ms: Some(1),
        backend: None,
    })
}

struct Instant {
    instance: InstanceId,
}

#[async_trait]
impl ExpertService for Instant {
    async fn invoke(
        &self,
        _: Request<v1::InvokeRequest>,
    ) -> Result<Response<v1::InvokeResponse>, Status> {
        let finding = Finding {
            value: "42".to_owned(),
            confidence: 1.0,
            evidence: String::new(),
        };
        let reply = ExpertReply {
            text: "42".to_owned(),
            findings: vec![finding],
            usage: Usage {
                calls: 1,
                ..Usage::default()
            },
            load: Load {
                in_flight: 0,
                capacity: CAPACITY,
            },
            instance: Some(self.instance.clone()),
            ..ExpertReply::default()
        };
        Ok(Response::new(reply.to_proto()))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        Ok(Response::new(v1::DescribeResponse::default()))
    }
}

/// There is no work that a drain would wait for.
struct Idle;

#[async_trait]
impl Drainable for Idle {
    fn status(&self) -> ServiceStatus {
        ServiceStatus {
            service: "expert-worker",
            capacity: CAPACITY,
            ..ServiceStatus::default()
        }
    }

    async fn drain(&self, _: Duration) -> u32 {
        0
    }
}
