use maestro_core::{
    CoreError,
    registry::{Descriptor, Instance},
};
use maestro_proto::v1;
use maestro_wire::{FromProto, ToProto};
use serde::Serialize;

use super::print_json;
use crate::{
    arguments::{Endpoint, Experts},
    connection::{Connection, quick},
    error::CliError,
};

/// An expert as `--json` and `describe` print it.
#[derive(Serialize)]
struct Expert {
    #[serde(flatten)]
    descriptor: Descriptor,
    instances: Vec<Instance>,
}

pub(super) async fn run(command: Experts) -> Result<(), CliError> {
    match command {
        Experts::List(list) => {
            for expert in experts(&list.endpoint).await? {
                if list.json {
                    print_json(&expert)?;
                } else {
                    println!("{}", line(&expert));
                }
            }
            Ok(())
        }
        Experts::Add {
            file,
            replace,
            endpoint,
        } => {
            let text = std::fs::read_to_string(&file).map_err(CliError::file(&file))?;
            let descriptor: Descriptor =
                serde_saphyr::from_str(&text).map_err(|error| CliError::Content {
                    path: file.clone(),
                    reason: error.to_string(),
                })?;
            descriptor.validate().map_err(|error| CliError::Content {
                path: file,
                reason: error.to_string(),
            })?;
            let name = descriptor.name.clone();
            let request = v1::RegisterExpertRequest {
                descriptor: Some(descriptor.to_proto()),
                replace,
            };
            let connection = Connection::open(&endpoint.endpoint)?;
            let response = connection
                .registry()
                .register_expert(quick(request))
                .await?
                .into_inner();
            println!("{name} registered at revision {}", response.revision);
            Ok(())
        }
        Experts::Remove { name, endpoint } => {
            let request = v1::UnregisterExpertRequest { name: name.clone() };
            let connection = Connection::open(&endpoint.endpoint)?;
            let response = connection
                .registry()
                .unregister_expert(quick(request))
                .await?
                .into_inner();
            println!("{name} unregistered at revision {}", response.revision);
            Ok(())
        }
        Experts::Describe { name, endpoint } => {
            let found = experts(&endpoint)
                .await?
                .into_iter()
                .find(|e| e.descriptor.name.as_str() == name);
            let expert = found.ok_or(CoreError::NotFound {
                kind: "expert",
                name,
            })?;
            println!("{}", serde_json::to_string_pretty(&expert)?);
            Ok(())
        }
    }
}

async fn experts(endpoint: &Endpoint) -> Result<Vec<Expert>, CliError> {
    let connection = Connection::open(&endpoint.endpoint)?;
    let request = quick(v1::ListExpertsRequest {});
    let response = connection
        .registry()
        .list_experts(request)
        .await?
        .into_inner();
    response
        .experts
        .into_iter()
        .map(|entry| {
            let descriptor = entry
                .descriptor
                .ok_or_else(|| CoreError::DataLoss("an entry without descriptor".to_owned()))?;
            let instances = entry.instances.into_iter().map(Instance::from_proto);
            Ok(Expert {
                descriptor: Descriptor::from_proto(descriptor)?,
                instances: instances.collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

fn line(expert: &Expert) -> String {
    let capabilities: Vec<&str> = expert
        .descriptor
        .capabilities
        .iter()
        .map(|c| c.as_str())
        .collect();
    let description: String = expert.descriptor.description.chars().take(60).collect();
    format!(
        "{:<20}  {:<16}  {} instance(s)  {description}",
        expert.descriptor.name.as_str(),
        capabilities.join(","),
        expert.instances.len()
    )
}
