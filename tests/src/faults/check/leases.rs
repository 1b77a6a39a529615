//! Keys under leases against the processes that live.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Violation};
use crate::faults::evidence::{Evidence, Leased};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut holders: BTreeMap<&str, Vec<&Leased>> = BTreeMap::new();
    for leased in &evidence.journal.leased {
        holders.entry(&leased.holder).or_default().push(leased);
        if !leased.has_lease {
            let what = format!("{} stands under no lease", leased.key);
            found.push(Violation::new(Kind::LeaseOutlived, what));
        }
    }
    let living: BTreeSet<&str> = evidence
        .living
        .coordinators
        .iter()
        .chain(&evidence.living.instances)
        .map(String::as_str)
        .collect();
    for (holder, keys) in &holders {
        let keys: Vec<&str> = keys.iter().map(|leased| leased.key.as_str()).collect();
        if !living.contains(holder) || keys.len() > 1 {
            let what = format!("{keys:?} of {holder}");
            found.push(Violation::new(Kind::LeaseOutlived, what));
        }
    }
    for holder in living {
        if !holders.contains_key(holder) {
            let what = format!("{holder} lives and has no key");
            found.push(Violation::new(Kind::LeaseMissing, what));
        }
    }
    for end in &evidence.leases {
        if end
            .gone_after
            .is_none_or(|after| after > evidence.lease_limit)
        {
            let what = format!(
                "{} was killed, its keys went after {:?}",
                end.holder, end.gone_after
            );
            found.push(Violation::new(Kind::LeaseOutlived, what));
        }
    }
    found
}
