//! The order of a workflow's steps.

use std::collections::{BTreeMap, BTreeSet};

/// An order in which every node follows what it depends on; among free nodes the smaller name
/// comes first.
///
/// # Errors
/// A circle of nodes, its first node again at the end. Dependencies that are no nodes count as
/// met.
pub(crate) fn order(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Result<Vec<String>, Vec<String>> {
    let mut left: BTreeMap<&str, BTreeSet<&str>> = edges
        .iter()
        .map(|(node, needs)| {
            (
                *node,
                needs
                    .iter()
                    .copied()
                    .filter(|need| edges.contains_key(need))
                    .collect(),
            )
        })
        .collect();
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let Some(next) = left
            .iter()
            .find(|(_, needs)| needs.is_empty())
            .map(|(node, _)| *node)
        else {
            return Err(circle(&left));
        };
        left.remove(next);
        for needs in left.values_mut() {
            needs.remove(next);
        }
        sorted.push(next.to_owned());
    }
    Ok(sorted)
}

/// Follows dependencies among nodes that all have one, until a node comes again.
fn circle(left: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut path: Vec<&str> = left.keys().next().copied().into_iter().collect();
    loop {
        let next = path
            .last()
            .and_then(|node| left.get(node)?.first().copied());
        let Some(next) = next else {
            return path.into_iter().map(str::to_owned).collect();
        };
        if let Some(start) = path.iter().position(|node| *node == next) {
            let mut circle: Vec<String> = path[start..].iter().map(|&n| n.to_owned()).collect();
            circle.push(next.to_owned());
            return circle;
        }
        path.push(next);
    }
}

/// Which steps of a workflow have run and which may start. A plain value: the runner reports
/// what ended and asks what is next.
#[derive(Clone, Debug)]
pub struct Progress {
    waiting: BTreeMap<String, BTreeSet<String>>,
}

impl Progress {
    /// Nothing has run. `needs` gives the steps that each step waits for.
    pub fn new(needs: impl IntoIterator<Item = (String, BTreeSet<String>)>) -> Self {
        Self {
            waiting: needs.into_iter().collect(),
        }
    }

    /// Takes out the steps that may start now, by name.
    pub fn start_ready(&mut self) -> Vec<String> {
        let ready: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, needs)| needs.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in &ready {
            self.waiting.remove(name);
        }
        ready
    }

    /// Notes that a step has ended.
    pub fn finish(&mut self, name: &str) {
        for needs in self.waiting.values_mut() {
            needs.remove(name);
        }
    }

    /// Whether no step waits.
    pub fn is_drained(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edges<'a>(list: &[(&'a str, &[&'a str])]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        list.iter()
            .map(|(node, needs)| (*node, needs.iter().copied().collect()))
            .collect()
    }

    #[test]
    fn circles_are_named() {
        let circle = order(&edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap_err();
        assert_eq!(circle, ["b", "c", "b"]);
        assert_eq!(order(&edges(&[("a", &["a"])])).unwrap_err(), ["a", "a"]);
    }

    proptest! {
        #[test]
        fn an_order_respects_every_dependency(
            pairs in prop::collection::vec((0usize..12, 0usize..12), 0..40)
        ) {
            let names: Vec<String> = (0..12).map(|i| format!("s{i:02}")).collect();
            let mut edges: BTreeMap<&str, BTreeSet<&str>> =
                names.iter().map(|name| (name.as_str(), BTreeSet::new())).collect();
            for (a, b) in pairs {
                edges.get_mut(names[a].as_str()).unwrap().insert(&names[b]);
            }
            match order(&edges) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), edges.len());
                    let at = |name: &str| order.iter().position(|o| o == name).unwrap();
                    for (node, needs) in &edges {
                        for need in needs {
                            prop_assert!(at(need) < at(node));
                        }
                    }
                    // Stepwise progress visits every node, too.
                    let mut progress = Progress::new(edges.iter().map(|(node, needs)| {
                        ((*node).to_owned(), needs.iter().map(|&n| n.to_owned()).collect())
                    }));
                    let mut seen = 0;
                    while !progress.is_drained() {
                        let ready = progress.start_ready();
                        prop_assert!(!ready.is_empty());
                        seen += ready.len();
                        ready.iter().for_each(|name| progress.finish(name));
                    }
                    prop_assert_eq!(seen, edges.len());
                }
                Err(circle) => {
                    prop_assert_eq!(circle.first(), circle.last());
                    for pair in circle.windows(2) {
                        prop_assert!(edges[pair[0].as_str()].contains(pair[1].as_str()));
                    }
                }
            }
        }
    }
}
