use proptest::prelude::*;

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn line(permits: usize, max_waiting: usize) -> Line {
    Line::new(LineConfig {
        permits,
        max_waiting,
        max_wait: S(5),
        standing_wait: MS(500),
        standing_after: S(2),
    })
}

fn new(name: &str) -> Claimant {
    Claimant::New {
        tenant: tenant(name),
        left: S(60),
    }
}

fn admitted(entered: Result<Entered, Refused>) -> Place {
    match entered {
        Ok(Entered::Admitted(place)) => place,
        other => panic!("{other:?}"),
    }
}

fn waiting(entered: Result<Entered, Refused>) -> (Place, Duration, Option<Place>) {
    match entered {
        Ok(Entered::Waiting {
            place,
            until,
            displaced,
            ..
        }) => (place, until, displaced),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_freed_permit_goes_to_whoever_waited_longest() {
    let mut line = line(1, 8);
    let holder = admitted(line.enter(new("a"), S(0)));
    let (first, ..) = waiting(line.enter(new("a"), S(0)));
    let (second, ..) = waiting(line.enter(new("a"), S(1)));
    assert_eq!(line.leave(holder, S(1)), Some(first));
    assert_eq!(line.leave(first, S(2)), Some(second));
    assert_eq!(line.leave(second, S(3)), None);
    assert_eq!((line.in_use(), line.waiting()), (0, 0));
}

#[test]
fn a_tenant_with_fewer_permits_comes_first() {
    let mut line = line(2, 8);
    let [one, two] = [S(0); 2].map(|now| admitted(line.enter(new("flood"), now)));
    let (flood, ..) = waiting(line.enter(new("flood"), S(0)));
    let (quiet, ..) = waiting(line.enter(new("quiet"), S(1)));
    assert_eq!(line.leave(one, S(1)), Some(quiet));
    assert_eq!(line.leave(two, S(1)), Some(flood));
}

#[test]
fn in_a_full_line_the_tenant_with_the_most_gives_way() {
    let mut line = line(1, 3);
    admitted(line.enter(new("flood"), S(0)));
    let places = [S(0); 3].map(|now| waiting(line.enter(new("flood"), now)).0);
    let refused = line.enter(new("flood"), S(0)).unwrap_err();
    assert_eq!(refused.reason, Reason::LineFull);
    let (_, _, displaced) = waiting(line.enter(new("quiet"), S(0)));
    assert_eq!(displaced, Some(places[2]));
    assert_eq!(line.waiting(), 3);
    let refused = line.enter(new("quiet"), S(0)).unwrap_err();
    assert_eq!(refused.reason, Reason::LineFull, "two against two");
}

#[test]
fn in_a_line_that_never_empties_the_wait_is_short() {
    let mut line = line(1, 8);
    let mut holder = admitted(line.enter(new("a"), S(0)));
    let (_, until, _) = waiting(line.enter(new("a"), S(0)));
    assert_eq!(until, S(5), "a burst may wait");
    waiting(line.enter(new("a"), S(1)));
    holder = line.leave(holder, S(1)).unwrap();
    let (last, until, _) = waiting(line.enter(new("a"), S(2)));
    assert_eq!(until, S(2) + MS(500));
    holder = line.leave(holder, S(2)).unwrap();
    assert_eq!(line.expired(last, Reason::Age).unwrap().reason, Reason::Age);
    assert_eq!(line.leave(holder, S(3)), None);
    admitted(line.enter(new("a"), S(3)));
    let (_, until, _) = waiting(line.enter(new("a"), S(3)));
    assert_eq!(until, S(8), "it was empty in between");
}

#[test]
fn what_cannot_finish_in_time_is_turned_away_at_once() {
    let mut line = line(1, 8);
    let mut now = S(0);
    let mut holder = admitted(line.enter(new("a"), now));
    for _ in 0..4 {
        waiting(line.enter(new("a"), now));
    }
    for _ in 0..3 {
        now += S(2);
        holder = line.leave(holder, now).unwrap();
    }
    let soon = |left| Claimant::New {
        tenant: tenant("a"),
        left,
    };
    // One waits; each holds its permit for two seconds, the quickest too.
    let refused = line.enter(soon(S(5)), now).unwrap_err();
    assert_eq!(
        (refused.reason, refused.retry_after),
        (Reason::Deadline, S(4))
    );
    let refused = line.enter(soon(S(1)), now).unwrap_err();
    assert_eq!(refused.reason, Reason::Deadline);
    waiting(line.enter(soon(S(7)), now));
    // Where a permit is free nobody is turned away.
    while let Some(next) = line.leave(holder, now) {
        holder = next;
    }
    admitted(line.enter(soon(MS(1)), now));
}

#[test]
fn accepted_work_comes_before_all_new() {
    let mut line = line(1, 0);
    let holder = admitted(line.enter(new("a"), S(0)));
    let (adopted, until, _) = waiting(line.enter(Claimant::Accepted, S(0)));
    assert_eq!(until, Duration::MAX);
    assert!(line.enter(new("a"), S(0)).is_err());
    assert_eq!(line.leave(holder, S(1)), Some(adopted));
}

#[test]
fn who_gives_up_gets_nothing() {
    let mut line = line(1, 4);
    let holder = admitted(line.enter(new("a"), S(0)));
    let (gone, ..) = waiting(line.enter(new("a"), S(0)));
    let (next, ..) = waiting(line.enter(new("a"), S(0)));
    assert_eq!(line.leave(gone, S(0)), None);
    assert_eq!(line.leave(holder, S(1)), Some(next));
    assert_eq!(line.expired(next, Reason::Age), None, "it holds a permit");
    assert_eq!(line.in_use(), 1);
}

#[derive(Clone, Debug)]
enum Move {
    Enter(u8, u64),
    Accepted,
    Leave(usize),
    Expire(usize),
}

fn moves() -> impl Strategy<Value = Vec<(Move, u64)>> {
    let step = prop_oneof![
        4 => (0u8..3, 0u64..20).prop_map(|(tenant, left)| Move::Enter(tenant, left)),
        1 => Just(Move::Accepted),
        3 => any::<usize>().prop_map(Move::Leave),
        1 => any::<usize>().prop_map(Move::Expire),
    ];
    prop::collection::vec((step, 0u64..1500), 0..120)
}

proptest! {
    #[test]
    fn permits_are_never_exceeded_and_never_idle_while_somebody_waits(
        moves in moves(), permits in 1usize..4, max_waiting in 0usize..5,
    ) {
        let mut line = line(permits, max_waiting);
        let mut now = S(0);
        let mut holders: Vec<Place> = vec![];
        let mut waiters: Vec<Place> = vec![];
        for (step, passed) in moves {
            now += MS(passed);
            match step {
                Move::Enter(name, left) => {
                    let claimant = Claimant::New {
                        tenant: tenant(&format!("t{name}")),
                        left: S(left),
                    };
                    match line.enter(claimant, now) {
                        Ok(Entered::Admitted(place)) => holders.push(place),
                        Ok(Entered::Waiting { place, until, displaced, .. }) => {
                            prop_assert!(until > now && until <= now + S(5));
                            waiters.push(place);
                            if let Some(displaced) = displaced {
                                prop_assert!(waiters.contains(&displaced));
                                waiters.retain(|waiter| *waiter != displaced);
                            }
                        }
                        Err(_) => prop_assert_eq!(line.in_use(), permits),
                    }
                }
                Move::Accepted => match line.enter(Claimant::Accepted, now) {
                    Ok(Entered::Admitted(place)) => holders.push(place),
                    Ok(Entered::Waiting { place, .. }) => waiters.push(place),
                    Err(refused) => prop_assert!(false, "{refused:?}"),
                },
                Move::Leave(index) if !holders.is_empty() => {
                    let place = holders.swap_remove(index % holders.len());
                    if let Some(next) = line.leave(place, now) {
                        prop_assert!(waiters.contains(&next));
                        waiters.retain(|waiter| *waiter != next);
                        holders.push(next);
                    }
                }
                Move::Expire(index) if !waiters.is_empty() => {
                    let place = waiters.swap_remove(index % waiters.len());
                    prop_assert!(line.expired(place, Reason::Age).is_some());
                }
                Move::Leave(_) | Move::Expire(_) => {}
            }
            prop_assert_eq!(line.in_use(), holders.len());
            prop_assert!(holders.len() <= permits);
            prop_assert!(line.waiting() <= max_waiting);
            prop_assert!(waiters.is_empty() || holders.len() == permits);
        }
    }

    /// A permit never goes to a tenant while one with fewer waits.
    #[test]
    fn a_freed_permit_goes_to_a_waiting_tenant_with_the_fewest(
        steps in prop::collection::vec((0usize..4, any::<bool>(), any::<usize>()), 1..150),
        permits in 1usize..8,
    ) {
        let mut line = line(permits, 1000);
        let mut names: HashMap<Place, usize> = HashMap::new();
        let mut holders: Vec<Place> = vec![];
        let mut waiters: Vec<Place> = vec![];
        for (name, enters, index) in steps {
            if enters || holders.is_empty() {
                match line.enter(new(&format!("t{name}")), S(0)).unwrap() {
                    Entered::Admitted(place) => {
                        names.insert(place, name);
                        holders.push(place);
                    }
                    Entered::Waiting { place, .. } => {
                        names.insert(place, name);
                        waiters.push(place);
                    }
                }
                continue;
            }
            let place = holders.swap_remove(index % holders.len());
            let held = |tenant: usize| holders.iter().filter(|place| names[place] == tenant).count();
            let fewest = waiters.iter().map(|place| held(names[place])).min();
            let next = line.leave(place, S(0));
            prop_assert_eq!(next.map(|place| held(names[&place])), fewest);
            if let Some(next) = next {
                waiters.retain(|waiter| *waiter != next);
                holders.push(next);
            }
        }
    }
}
