use std::time::Duration;

use maestro_proto::v1::{action, episode_event::Event, termination::Termination};

use super::*;
use crate::faults::evidence::*;

const ID: &str = "e1";
const REQUEST: &str = "r1";
const ANSWER: &str = "7 + 1";

fn usage(calls: u32, repeated_calls: u32, cost_micro_usd: u64) -> v1::Usage {
    v1::Usage {
        cost_micro_usd,
        calls,
        repeated_calls,
        ..v1::Usage::default()
    }
}

fn decision(action: action::Action) -> Option<v1::Decision> {
    Some(v1::Decision {
        action: Some(v1::Action {
            action: Some(action),
        }),
        ..v1::Decision::default()
    })
}

/// One call and its answer, by the second owner: the call was made again.
fn record() -> v1::Episode {
    let call = v1::Step {
        index: 0,
        decision: decision(action::Action::Invoke(action::Invoke::default())),
        observation: Some(v1::Observation {
            usage: Some(usage(1, 1, 200)),
            ..v1::Observation::default()
        }),
        ..v1::Step::default()
    };
    let answer = v1::Step {
        index: 1,
        decision: decision(action::Action::AnswerObservation(0)),
        ..v1::Step::default()
    };
    v1::Episode {
        id: ID.to_owned(),
        request_id: REQUEST.to_owned(),
        task: Some(v1::Task {
            budget: Some(v1::Budget {
                max_steps: Some(3),
                max_cost_micro_usd: Some(250),
                ..v1::Budget::default()
            }),
            ..v1::Task::default()
        }),
        steps: vec![call, answer],
        status: v1::EpisodeStatus::Finished.into(),
        conclusion: Some(v1::Conclusion {
            termination: Some(v1::Termination {
                termination: Some(Termination::Answered(v1::termination::Answered {})),
            }),
            answer: Some(v1::FinalAnswer {
                value: ANSWER.to_owned(),
                ..v1::FinalAnswer::default()
            }),
            usage: Some(usage(1, 1, 200)),
            ..v1::Conclusion::default()
        }),
        ..v1::Episode::default()
    }
}

fn told(event: Event) -> v1::EpisodeEvent {
    v1::EpisodeEvent { event: Some(event) }
}

fn watch() -> Watch {
    let record = record();
    let accepted = v1::Episode {
        steps: vec![],
        conclusion: None,
        status: v1::EpisodeStatus::Running.into(),
        ..record.clone()
    };
    let decided = v1::Step {
        observation: None,
        ..record.steps[0].clone()
    };
    let events = [
        Event::Accepted(accepted),
        Event::Decided(decided),
        Event::Finished(record.steps[0].clone()),
        Event::Finished(record.steps[1].clone()),
        Event::Ended(record),
    ];
    Watch {
        events: events.map(told).into(),
        streams: 2,
        is_of_creation: false,
    }
}

fn call() -> Call {
    Call {
        key: format!("{ID}/0/#0"),
    }
}

/// A run in which nothing is wrong: a durable episode that lost its first owner, an ephemeral one,
/// and leases that ended in time.
fn clean() -> Evidence {
    let record = record();
    let mut journal = JournalDump::default();
    let episode = JournalEpisode {
        head: Some(v1::StoredEpisode {
            owner: "c2".to_owned(),
            terms: 2,
            episode: Some(v1::Episode {
                steps: vec![],
                ..record.clone()
            }),
        }),
        steps: record
            .steps
            .iter()
            .map(|step| (step.index, step.clone()))
            .collect(),
        ..JournalEpisode::default()
    };
    journal.episodes.insert(ID.to_owned(), episode);
    journal.requests.insert(REQUEST.to_owned(), ID.to_owned());
    journal.finished.insert(ID.to_owned());
    journal.leased.push(Leased {
        key: "coordinators/c2".to_owned(),
        holder: "coordinator-2".to_owned(),
        has_lease: true,
    });
    let durable = ClientView {
        request_id: REQUEST.to_owned(),
        is_durable: true,
        answer: ANSWER.to_owned(),
        accepted: vec![
            ("coordinator-1".to_owned(), ID.to_owned()),
            ("coordinator-2".to_owned(), ID.to_owned()),
        ],
        watches: vec![watch()],
        ..ClientView::default()
    };
    let mut ephemeral = ClientView {
        request_id: "r2".to_owned(),
        answer: ANSWER.to_owned(),
        accepted: vec![("coordinator-1".to_owned(), "e2".to_owned())],
        watches: vec![watch()],
        ..ClientView::default()
    };
    // Its stream broke off.
    ephemeral.watches[0].events.truncate(3);
    Evidence {
        clients: vec![durable, ephemeral],
        reads: vec![Read {
            coordinator: "coordinator-2".to_owned(),
            id: ID.to_owned(),
            episode: Ok(record.clone()),
        }],
        journal,
        store: Some(vec![record]),
        calls: vec![call(), call()],
        price_micro_usd: 100,
        living: Living {
            coordinators: ["coordinator-2".to_owned()].into(),
            ..Living::default()
        },
        leases: vec![LeaseEnd {
            holder: "coordinator-1".to_owned(),
            gone_after: Some(Duration::from_secs(3)),
        }],
        lease_limit: Duration::from_secs(5),
        ..Evidence::default()
    }
}

impl Evidence {
    fn kept(&mut self) -> &mut JournalEpisode {
        self.journal.episodes.get_mut(ID).unwrap()
    }

    /// Changes the conclusion everywhere, so that no view differs.
    fn concluded(&mut self, change: impl Fn(&mut v1::Conclusion)) {
        let of = |record: &mut v1::Episode| change(record.conclusion.as_mut().unwrap());
        of(self.kept().head.as_mut().unwrap().episode.as_mut().unwrap());
        self.everywhere_else(of);
    }

    /// Changes the task everywhere.
    fn asked(&mut self, change: impl Fn(&mut v1::Budget)) {
        let of = |record: &mut v1::Episode| {
            change(record.task.as_mut().unwrap().budget.as_mut().unwrap());
        };
        of(self.kept().head.as_mut().unwrap().episode.as_mut().unwrap());
        if let Some(Event::Accepted(record)) = &mut self.clients[0].watches[0].events[0].event {
            of(record);
        }
        self.everywhere_else(of);
    }

    fn everywhere_else(&mut self, change: impl Fn(&mut v1::Episode)) {
        change(self.reads[0].episode.as_mut().unwrap());
        change(&mut self.store.as_mut().unwrap()[0]);
        let ended = self.clients[0].watches[0].events.last_mut().unwrap();
        if let Some(Event::Ended(record)) = &mut ended.event {
            change(record);
        }
    }
}

/// The kinds that are found once the evidence is spoilt.
fn planted(spoil: impl FnOnce(&mut Evidence)) -> Vec<Kind> {
    let mut evidence = clean();
    spoil(&mut evidence);
    let mut kinds: Vec<Kind> = check(&evidence).into_iter().map(|one| one.kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn clean_evidence_passes() {
    assert_eq!(check(&clean()), []);
}

#[test]
fn an_accepted_episode_that_is_gone_is_found() {
    let kinds = planted(|evidence| {
        evidence.journal.episodes.clear();
        evidence.journal.finished.clear();
    });
    assert!(kinds.contains(&Kind::Lost), "{kinds:?}");
}

#[test]
fn an_episode_without_an_end_is_found() {
    let kinds = planted(|evidence| {
        let head = evidence.kept().head.as_mut().unwrap();
        head.episode.as_mut().unwrap().conclusion = None;
    });
    assert!(kinds.contains(&Kind::StillRunning), "{kinds:?}");
    let running = ("c1".to_owned(), ID.to_owned());
    let entry = running.clone();
    let kinds = planted(|evidence| evidence.journal.running = [entry].into());
    assert_eq!(kinds, [Kind::StillRunning]);
    assert_eq!(
        planted(|evidence| evidence.running = vec![running]),
        [Kind::StillRunning]
    );
}

#[test]
fn an_end_that_is_told_twice_is_found() {
    let kinds = planted(|evidence| {
        let events = &mut evidence.clients[0].watches[0].events;
        events.extend(events.last().cloned());
    });
    assert!(kinds.contains(&Kind::EndedTwice), "{kinds:?}");
}

#[test]
fn a_request_that_made_two_episodes_is_found() {
    let of_clients = planted(|evidence| evidence.clients[0].accepted[1].1 = "e9".to_owned());
    assert_eq!(of_clients, [Kind::NotOnePerRequest]);
    let in_journal = planted(|evidence| {
        let mut second = evidence.kept().clone();
        second.head.as_mut().unwrap().episode.as_mut().unwrap().id = "e9".to_owned();
        evidence.journal.episodes.insert("e9".to_owned(), second);
        evidence.journal.finished.insert("e9".to_owned());
    });
    assert_eq!(in_journal, [Kind::NotOnePerRequest]);
    let kept = planted(|evidence| evidence.journal.requests.clear());
    assert_eq!(kept, [Kind::NotOnePerRequest]);
}

#[test]
fn an_episode_that_nobody_asked_for_is_found() {
    let kinds = planted(|evidence| {
        evidence.clients.remove(0);
    });
    assert_eq!(kinds, [Kind::Unasked]);
    let call = Call {
        key: "?".to_owned(),
    };
    assert_eq!(
        planted(|evidence| evidence.calls.push(call)),
        [Kind::Unasked]
    );
}

#[test]
fn views_that_differ_are_found() {
    let other = |record: &mut v1::Episode| {
        record.conclusion.as_mut().unwrap().finished_at = Some(prost_types());
    };
    let read = planted(|evidence| other(evidence.reads[0].episode.as_mut().unwrap()));
    assert_eq!(read, [Kind::ViewsDiffer]);
    let silent = planted(|evidence| evidence.reads[0].episode = Err("not found".to_owned()));
    assert_eq!(silent, [Kind::ViewsDiffer]);
    let stored = planted(|evidence| other(&mut evidence.store.as_mut().unwrap()[0]));
    assert_eq!(stored, [Kind::ViewsDiffer]);
    let watched = planted(|evidence| {
        let ended = evidence.clients[0].watches[0].events.last_mut().unwrap();
        if let Some(Event::Ended(record)) = &mut ended.event {
            other(record);
        }
    });
    assert_eq!(watched, [Kind::ViewsDiffer]);
    let observed = planted(|evidence| {
        let finished = &mut evidence.clients[0].watches[0].events[2];
        if let Some(Event::Finished(step)) = &mut finished.event {
            step.observation.as_mut().unwrap().text = "else".to_owned();
        }
    });
    assert_eq!(observed, [Kind::ViewsDiffer]);
}

fn prost_types() -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: 1,
        nanos: 0,
    }
}

#[test]
fn a_wrong_answer_is_found() {
    let kinds = planted(|evidence| {
        evidence.concluded(|conclusion| conclusion.answer.as_mut().unwrap().value = "8".to_owned());
    });
    assert_eq!(kinds, [Kind::WrongAnswer]);
}

#[test]
fn missing_and_doubled_steps_are_found() {
    let missing = planted(|evidence| {
        evidence.kept().steps.remove(&0);
    });
    assert!(missing.contains(&Kind::StepsBroken), "{missing:?}");
    let doubled = planted(|evidence| {
        let first = evidence.kept().steps[&0].clone();
        evidence.kept().steps.insert(2, first);
    });
    assert!(doubled.contains(&Kind::StepsBroken), "{doubled:?}");
    let after_the_end = planted(|evidence| {
        let mut more = evidence.kept().steps[&0].clone();
        more.index = 2;
        evidence.kept().steps.insert(2, more);
    });
    assert!(
        after_the_end.contains(&Kind::StepsBroken),
        "{after_the_end:?}"
    );
}

#[test]
fn lost_repeated_and_late_events_are_found() {
    type Events = Vec<v1::EpisodeEvent>;
    let spoilt: [fn(&mut Events); 4] = [
        |events| drop(events.remove(1)),
        |events| drop(events.pop()),
        |events| events.insert(2, events[2].clone()),
        |events| events.swap(2, 3),
    ];
    for spoil in spoilt {
        let kinds = planted(|evidence| spoil(&mut evidence.clients[0].watches[0].events));
        assert_eq!(kinds, [Kind::EventsBroken]);
    }
    let ephemeral = planted(|evidence| {
        let events = &mut evidence.clients[1].watches[0].events;
        events.push(events[2].clone());
    });
    assert_eq!(ephemeral, [Kind::EventsBroken]);
}

#[test]
fn budgets_that_are_exceeded_are_found() {
    let steps = planted(|evidence| evidence.asked(|budget| budget.max_steps = Some(1)));
    assert_eq!(steps, [Kind::BudgetExceeded]);
    let money = planted(|evidence| evidence.asked(|budget| budget.max_cost_micro_usd = Some(199)));
    assert_eq!(money, [Kind::BudgetExceeded]);
    let reserved = planted(|evidence| {
        evidence.concluded(|conclusion| conclusion.unsettled_cost_micro_usd = 100);
    });
    assert_eq!(reserved, [Kind::BudgetExceeded]);
    let sums = planted(|evidence| {
        evidence.concluded(|conclusion| conclusion.usage = Some(usage(2, 1, 200)));
    });
    assert_eq!(sums, [Kind::BudgetExceeded]);
    let paid = planted(|evidence| evidence.price_micro_usd = 120);
    assert_eq!(paid, [Kind::BudgetExceeded]);
}

#[test]
fn calls_that_are_made_too_often_are_found() {
    let uncounted = planted(|evidence| evidence.kept().head.as_mut().unwrap().terms = 1);
    assert_eq!(uncounted, [Kind::CallsRepeated]);
    let thrice = planted(|evidence| {
        evidence.price_micro_usd = 0;
        evidence.kept().head.as_mut().unwrap().terms = 3;
        evidence.calls.push(call());
    });
    assert_eq!(thrice, [Kind::CallsRepeated]);
}

#[test]
fn a_client_that_gave_up_is_found() {
    let kinds = planted(|evidence| evidence.clients[1].gave_up = Some("no answer".to_owned()));
    assert_eq!(kinds, [Kind::Unanswered]);
}

#[test]
fn what_is_left_behind_is_found() {
    let call = planted(|evidence| evidence.kept().has_call = true);
    assert_eq!(call, [Kind::LeftBehind]);
    let wish = planted(|evidence| evidence.journal.cancellations = [ID.to_owned()].into());
    assert_eq!(wish, [Kind::LeftBehind]);
    let index = planted(|evidence| evidence.journal.finished.clear());
    assert_eq!(index, [Kind::LeftBehind]);
}

#[test]
fn leases_that_outlive_their_processes_are_found() {
    let stays = planted(|evidence| evidence.leases[0].gone_after = None);
    assert_eq!(stays, [Kind::LeaseOutlived]);
    let late = planted(|evidence| evidence.leases[0].gone_after = Some(Duration::from_secs(9)));
    assert_eq!(late, [Kind::LeaseOutlived]);
    let dead = planted(|evidence| {
        let mut leased = evidence.journal.leased[0].clone();
        leased.holder = "coordinator-1".to_owned();
        evidence.journal.leased.push(leased);
    });
    assert_eq!(dead, [Kind::LeaseOutlived]);
    let second = planted(|evidence| {
        let again = evidence.journal.leased[0].clone();
        evidence.journal.leased.push(again);
    });
    assert_eq!(second, [Kind::LeaseOutlived]);
    let lasting = planted(|evidence| evidence.journal.leased[0].has_lease = false);
    assert_eq!(lasting, [Kind::LeaseOutlived]);
    let none = planted(|evidence| evidence.journal.leased.clear());
    assert_eq!(none, [Kind::LeaseMissing]);
}

#[test]
fn unreadable_values_and_panics_are_found() {
    let value = planted(|evidence| evidence.journal.unreadable.push("head".to_owned()));
    assert_eq!(value, [Kind::Unreadable]);
    let headless = planted(|evidence| {
        evidence.kept().head = None;
        evidence.journal.finished.clear();
    });
    assert!(headless.contains(&Kind::Unreadable), "{headless:?}");
    let panic = ("runner-0".to_owned(), "panicked at".to_owned());
    assert_eq!(
        planted(|evidence| evidence.panics.push(panic)),
        [Kind::Panicked]
    );
}

#[test]
fn a_decision_whose_call_was_cut_off_may_be_told_and_nothing_else() {
    let cut_off = |evidence: &mut Evidence| {
        evidence.kept().steps.clear();
        evidence.everywhere_else(|record| record.steps.clear());
        evidence.concluded(|conclusion| {
            let cancelled = v1::termination::Cancelled::default();
            conclusion.termination = Some(v1::Termination {
                termination: Some(Termination::Cancelled(cancelled)),
            });
            conclusion.answer = None;
            conclusion.usage = None;
            conclusion.unsettled_cost_micro_usd = 200;
        });
        let events = &mut evidence.clients[0].watches[0].events;
        events.drain(2..4);
    };
    assert_eq!(planted(cut_off), []);
    let not_told = planted(|evidence| {
        cut_off(evidence);
        evidence.clients[0].watches[0].events.remove(1);
    });
    assert_eq!(not_told, []);
    let told_twice = planted(|evidence| {
        cut_off(evidence);
        let events = &mut evidence.clients[0].watches[0].events;
        events.insert(1, events[1].clone());
    });
    assert_eq!(told_twice, [Kind::EventsBroken]);
}
