use std::sync::Arc;

use maestro_core::{
    CoreError,
    episode::{EpisodeRecord, Step},
};
use maestro_proto::v1;

use crate::{FromProto, ToProto};

/// What a watcher of an episode is told.
#[derive(Clone, Debug, PartialEq)]
pub enum EpisodeEvent {
    /// First: the episode as accepted.
    Accepted(Arc<EpisodeRecord>),
    /// The policy decided; the observation is still to come.
    Decided(Arc<Step>),
    /// A step is finished.
    Finished(Arc<Step>),
    /// Last: the whole episode.
    Ended(Arc<EpisodeRecord>),
}

/// The message of an event.
pub fn event_to_proto(event: &EpisodeEvent) -> v1::EpisodeEvent {
    use v1::episode_event::Event;
    let event = match event {
        EpisodeEvent::Accepted(record) => Event::Accepted(record.to_proto()),
        EpisodeEvent::Decided(step) => Event::Decided(step.to_proto()),
        EpisodeEvent::Finished(step) => Event::Finished(step.to_proto()),
        EpisodeEvent::Ended(record) => Event::Ended(record.to_proto()),
    };
    v1::EpisodeEvent { event: Some(event) }
}

impl FromProto for EpisodeEvent {
    type Proto = v1::EpisodeEvent;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        use v1::episode_event::Event;
        Ok(match proto.event {
            Some(Event::Accepted(record)) => {
                Self::Accepted(Arc::new(EpisodeRecord::from_proto(record)?))
            }
            Some(Event::Decided(step)) => Self::Decided(Arc::new(Step::from_proto(step)?)),
            Some(Event::Finished(step)) => Self::Finished(Arc::new(Step::from_proto(step)?)),
            Some(Event::Ended(record)) => Self::Ended(Arc::new(EpisodeRecord::from_proto(record)?)),
            None => return Err(CoreError::invalid("event", "must be set")),
        })
    }
}
