use std::path::Path;

use maestro_core::{CoreError, registry::SkillHeader};
use maestro_proto::v1;
use maestro_skills::Severity;
use maestro_wire::FromProto;

use super::print_json;
use crate::{
    arguments::{SkillFile, Skills},
    connection::{Connection, quick},
    error::CliError,
};

pub(super) async fn run(command: Skills) -> Result<(), CliError> {
    match command {
        Skills::List(list) => {
            let connection = Connection::open(&list.endpoint.endpoint)?;
            let request = quick(v1::ListSkillsRequest {});
            let response = connection
                .registry()
                .list_skills(request)
                .await?
                .into_inner();
            for header in response.skills {
                let header = SkillHeader::from_proto(header)?;
                if list.json {
                    print_json(&header)?;
                } else {
                    let description: String = header.description.chars().take(60).collect();
                    let name = header.name.as_str();
                    println!("{name:<20}  {}  {description}", header.bundle.short());
                }
            }
            Ok(())
        }
        Skills::Add {
            folder,
            replace,
            endpoint,
        } => {
            lint(&folder)?;
            let content = |error: maestro_skills::SkillError| CliError::Content {
                path: folder.clone(),
                reason: error.to_string(),
            };
            let bundle = maestro_skills::pack(&folder).map_err(content)?;
            let connection = Connection::open(&endpoint.endpoint)?;
            let request = v1::RegisterSkillRequest {
                source: Some(v1::register_skill_request::Source::Content(bundle)),
                replace,
            };
            let response = connection
                .registry()
                .register_skill(quick(request))
                .await?
                .into_inner();
            let header = response
                .header
                .ok_or_else(|| CoreError::DataLoss("a reply without a header".to_owned()))?;
            println!(
                "{} registered at revision {}",
                header.name, response.revision
            );
            Ok(())
        }
        Skills::Remove { name, endpoint } => {
            let request = v1::UnregisterSkillRequest { name: name.clone() };
            let connection = Connection::open(&endpoint.endpoint)?;
            let response = connection
                .registry()
                .unregister_skill(quick(request))
                .await?
                .into_inner();
            println!("{name} unregistered at revision {}", response.revision);
            Ok(())
        }
        Skills::Lint { folder } => lint(&folder),
        Skills::Schema { file } => {
            let name = match file {
                SkillFile::Skill => "skill.json",
                SkillFile::Solver => "solver.json",
            };
            print_json(&maestro_skills::json_schema()[name])
        }
    }
}

fn lint(folder: &Path) -> Result<(), CliError> {
    let findings = maestro_skills::lint(folder);
    let mut errors = 0;
    for finding in &findings {
        let severity = match finding.severity {
            Severity::Error => {
                errors += 1;
                "error"
            }
            Severity::Warning => "warning",
        };
        let mut place = folder.join(&finding.file).display().to_string();
        if let Some(line) = finding.line {
            place.push_str(&format!(":{line}"));
        }
        println!("{place}: {severity}: {}", finding.message);
    }
    if errors > 0 {
        Err(CliError::Findings(errors))
    } else {
        Ok(())
    }
}
