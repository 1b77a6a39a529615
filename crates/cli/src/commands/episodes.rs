use std::io;

use maestro_core::{CoreError, episode::EpisodeRecord};
use maestro_proto::v1;
use maestro_wire::FromProto;

use super::{print_json, resume, run::follow};
use crate::{
    arguments::{Cancel, Episode, List, Report, Submit},
    connection::{Connection, quick},
    error::CliError,
    render::{Live, episode_json},
    task,
};

/// Episodes asked for in one page.
const PAGE: usize = 100;

fn record(episode: Option<v1::Episode>) -> Result<EpisodeRecord, CliError> {
    let episode =
        episode.ok_or_else(|| CoreError::DataLoss("a reply without an episode".to_owned()))?;
    Ok(EpisodeRecord::from_proto(episode)?)
}

pub(super) async fn submit(submit: Submit) -> Result<(), CliError> {
    let connection = Connection::open(&submit.endpoint.endpoint)?;
    let request = v1::CreateEpisodeRequest {
        task: Some(task::task(&connection, &submit.task).await?),
        options: Some(task::options(&submit.task)),
    };
    let response = connection
        .episodes()
        .create_episode(quick(request))
        .await?
        .into_inner();
    println!("{}", record(response.episode)?.spec.id);
    Ok(())
}

pub(super) async fn get(get: Episode) -> Result<(), CliError> {
    let connection = Connection::open(&get.endpoint.endpoint)?;
    let request = v1::GetEpisodeRequest { id: get.id };
    let response = connection
        .episodes()
        .get_episode(quick(request))
        .await?
        .into_inner();
    show(&record(response.episode)?, get.json)
}

fn show(record: &EpisodeRecord, json: bool) -> Result<(), CliError> {
    if json {
        return print_json(&episode_json(record));
    }
    let mut live = Live(io::stdout());
    let written = record
        .steps
        .iter()
        .try_for_each(|step| live.decided(step).and_then(|()| live.finished(step)))
        .and_then(|()| live.ended(record));
    written.map_err(CliError::file("standard output"))?;
    if record.conclusion.is_none() {
        println!("running");
    }
    Ok(())
}

pub(super) async fn watch(watch: Episode) -> Result<(), CliError> {
    let connection = Connection::open(&watch.endpoint.endpoint)?;
    let events = resume::watch(connection, watch.id);
    if watch.json {
        print_json(&episode_json(&follow(events, Live(io::stderr())).await?))
    } else {
        follow(events, Live(io::stdout())).await.map(drop)
    }
}

pub(super) async fn cancel(cancel: Cancel) -> Result<(), CliError> {
    let connection = Connection::open(&cancel.endpoint.endpoint)?;
    let request = v1::CancelEpisodeRequest {
        id: cancel.id,
        reason: cancel.reason,
    };
    let response = connection
        .episodes()
        .cancel_episode(quick(request))
        .await?
        .into_inner();
    show(&record(response.episode)?, false)
}

pub(super) async fn list(list: List) -> Result<(), CliError> {
    let connection = Connection::open(&list.endpoint.endpoint)?;
    let mut left = list.limit;
    let mut page_token = String::new();
    while left > 0 {
        let page_size = i32::try_from(left.min(PAGE)).unwrap_or_default();
        let request = v1::ListEpisodesRequest {
            page_size,
            page_token,
            status: 0,
        };
        let page = connection
            .episodes()
            .list_episodes(quick(request))
            .await?
            .into_inner();
        for episode in page.episodes {
            let record = record(Some(episode))?;
            if list.json {
                print_json(&episode_json(&record))?;
            } else {
                println!("{}", line(&record));
            }
            left = left.saturating_sub(1);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(())
}

fn line(record: &EpisodeRecord) -> String {
    let status = record
        .conclusion
        .as_ref()
        .map_or("running", |c| c.termination.name());
    let answer = record.conclusion.as_ref().and_then(|c| c.answer.as_ref());
    let question: String = record.spec.task.question.chars().take(50).collect();
    format!(
        "{}  {status:<9}  {}  {}",
        record.spec.id,
        question.replace('\n', " "),
        answer
            .map(|answer| format!("→ {}", answer.value))
            .unwrap_or_default()
    )
}

pub(super) async fn report(report: Report) -> Result<(), CliError> {
    let connection = Connection::open(&report.endpoint.endpoint)?;
    let outcome = v1::Outcome {
        score: report.score,
        source: report.source,
        ..v1::Outcome::default()
    };
    let request = v1::ReportOutcomeRequest {
        id: report.id,
        outcome: Some(outcome),
    };
    connection.episodes().report_outcome(quick(request)).await?;
    Ok(())
}
