use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use proptest::prelude::*;

use super::*;

const WIDTH: usize = 4;

fn circuit() -> Circuit {
    let backoff = Backoff {
        base: Duration::from_secs(8),
        cap: Duration::from_secs(32),
    };
    Circuit::new(backoff, WIDTH)
}

fn to(name: &str) -> Address {
    Address::from(name)
}

fn let_through<'a>(circuit: &'a Circuit, name: &str) -> Ticket<'a> {
    circuit
        .try_admit(&to(name), Instant::now())
        .unwrap_or_else(|wait| panic!("{name} not let through: {wait:?}"))
}

fn fail(circuit: &Circuit, name: &str, end: End) -> Outage {
    let_through(circuit, name).end(&to(name), end, "out of order")
}

fn succeed(circuit: &Circuit, name: &str) {
    let_through(circuit, name).end(&to(name), End::Answered, "");
}

fn wait_of(circuit: &Circuit, name: &str) -> Option<Duration> {
    let admitted = circuit.try_admit(&to(name), Instant::now());
    admitted.err().map(Option::unwrap_or_default)
}

fn let_time_pass(circuit: &Circuit) {
    let mut state = circuit.state();
    if let Phase::Open { .. } = state.phase {
        let now = Instant::now();
        state.phase = Phase::Open {
            until: now,
            fresh: now,
        };
    }
}

#[test]
fn failures_of_several_recipients_open_it() {
    let circuit = circuit();
    for name in ["1", "2", "1", "2"] {
        assert_eq!(fail(&circuit, name, End::NoAnswer), Outage::No);
    }
    let Outage::Wait(wait) = fail(&circuit, "3", End::NoAnswer) else {
        panic!("still closed");
    };
    assert!(wait >= Duration::from_secs(4) && wait <= Duration::from_secs(8));
    let left = wait_of(&circuit, "1").expect("it waits");
    assert!(left <= wait && left > Duration::from_secs(3));
    let fresh = wait_of(&circuit, "4").expect("it waits as well");
    assert!(fresh <= FRESH_WAIT, "{fresh:?}");
    let Condition::Down { reason } = circuit.condition(Instant::now()) else {
        panic!("not told");
    };
    assert_eq!(reason, "out of order");
}

#[test]
fn an_answer_in_between_keeps_it_closed() {
    let circuit = circuit();
    for round in 0..9 {
        let expected = if round == 0 {
            Outage::No
        } else {
            Outage::Alone
        };
        for name in ["1", "2", "3", "4"] {
            assert_eq!(fail(&circuit, name, End::NotReached), expected);
        }
        succeed(&circuit, "5");
    }
    assert!(circuit.is_closed());
}

#[test]
fn one_recipient_alone_is_doubted_longer() {
    let circuit = circuit();
    for _ in 0..9 {
        assert_eq!(fail(&circuit, "1", End::NoAnswer), Outage::No);
    }
    assert!(matches!(
        fail(&circuit, "1", End::NoAnswer),
        Outage::Wait(_)
    ));
    let unreached = self::circuit();
    for _ in 0..4 {
        assert_eq!(fail(&unreached, "1", End::NotReached), Outage::No);
    }
    assert!(matches!(
        fail(&unreached, "1", End::NotReached),
        Outage::Wait(_)
    ));
}

#[test]
fn who_fails_while_others_are_served_says_nothing_about_the_account() {
    let circuit = circuit();
    for name in ["1", "2", "3"] {
        assert_eq!(fail(&circuit, name, End::NoAnswer), Outage::No);
    }
    succeed(&circuit, "4");
    for _ in 0..9 {
        for name in ["1", "2", "3"] {
            assert_eq!(fail(&circuit, name, End::NoAnswer), Outage::Alone);
        }
    }
    assert!(circuit.is_closed());
    let condition = circuit.condition(Instant::now());
    let expected = Condition::SomeFail {
        recipients: 3,
        reason: "out of order".to_owned(),
    };
    assert_eq!(condition, expected);
    let much_later = Instant::now() + SHOWN;
    assert_eq!(circuit.condition(much_later), Condition::Served);
    // Served again, the next failures count again.
    for name in ["1", "2", "3"] {
        succeed(&circuit, name);
    }
    assert_eq!(circuit.condition(Instant::now()), Condition::Served);
    for name in ["1", "2", "3", "1"] {
        assert_eq!(fail(&circuit, name, End::NoAnswer), Outage::No);
    }
    assert!(matches!(
        fail(&circuit, "2", End::NoAnswer),
        Outage::Wait(_)
    ));
}

#[test]
fn an_answer_to_a_call_that_began_before_a_failure_is_no_proof() {
    let circuit = circuit();
    let slow = let_through(&circuit, "slow");
    for name in ["1", "2", "3", "4"] {
        fail(&circuit, name, End::NotReached);
    }
    slow.end(&to("slow"), End::Answered, "");
    for name in ["1", "2", "3", "4"] {
        assert_eq!(fail(&circuit, name, End::NotReached), Outage::No);
    }
    assert!(matches!(
        fail(&circuit, "1", End::NotReached),
        Outage::Wait(_)
    ));
}

#[test]
fn one_tries_and_the_others_follow_a_few_at_a_time() {
    let circuit = circuit();
    for name in ["1", "2", "3", "4", "5"] {
        fail(&circuit, name, End::NotReached);
    }
    let_time_pass(&circuit);
    let probe = let_through(&circuit, "1");
    let beside = circuit.try_admit(&to("2"), Instant::now());
    assert_eq!(beside.err(), Some(Some(ASK_AGAIN)), "one at a time");
    probe.end(&to("1"), End::Answered, "");
    let mut most = 0;
    for round in 1..=4 {
        let mut tickets = Vec::new();
        while let Ok(ticket) = circuit.try_admit(&to("6"), Instant::now()) {
            tickets.push(ticket);
            if circuit.is_closed() {
                break;
            }
        }
        if !circuit.is_closed() {
            assert!(tickets.len() > most && tickets.len() <= 1 << round);
            most = tickets.len();
        }
        for ticket in tickets {
            ticket.end(&to("6"), End::Answered, "");
        }
    }
    assert!(circuit.is_closed());
}

#[test]
fn a_failure_while_trying_opens_it_for_longer() {
    let circuit = circuit();
    for name in ["1", "2", "3", "4", "5"] {
        fail(&circuit, name, End::NotReached);
    }
    let mut waits = Vec::new();
    for _ in 0..4 {
        let_time_pass(&circuit);
        let Outage::Wait(wait) = fail(&circuit, "1", End::NotReached) else {
            panic!("still not open");
        };
        waits.push(wait.as_secs());
    }
    assert!(waits[0] >= 8 && waits[1] >= 16, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= 32), "{waits:?}");
}

#[test]
fn a_refusal_of_the_account_is_believed_at_once_unless_it_worked_just_now() {
    let refused = circuit();
    let outage = fail(&refused, "1", End::Refused);
    assert_eq!(outage, Outage::Wait(REFUSED_WAIT));
    assert!(matches!(
        refused.condition(Instant::now()),
        Condition::Refused { .. }
    ));
    // Another one tries long before that, and shows that it was about that one call.
    let_time_pass(&refused);
    succeed(&refused, "2");
    for _ in 0..9 {
        assert_eq!(fail(&refused, "1", End::Refused), Outage::Alone);
    }
    let works = circuit();
    succeed(&works, "0");
    for name in ["1", "2"] {
        assert_eq!(fail(&works, name, End::Refused), Outage::No);
    }
    assert_eq!(fail(&works, "3", End::Refused), Outage::Wait(REFUSED_WAIT));
}

#[test]
fn a_probe_that_did_not_try_leaves_the_turn_to_another() {
    let circuit = circuit();
    for name in ["1", "2", "3", "4", "5"] {
        fail(&circuit, name, End::NotReached);
    }
    let_time_pass(&circuit);
    drop(let_through(&circuit, "1"));
    assert!(circuit.try_admit(&to("2"), Instant::now()).is_ok());
    let ours = let_through(&circuit, "6").end(&to("6"), End::Ours, "no media");
    assert_eq!(ours, Outage::No);
    assert!(!circuit.is_closed(), "nothing was shown");
}

/// What a recipient's calls are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    end: End,
    takes: Duration,
}

const HEALTHY: Fate = Fate {
    end: End::Answered,
    takes: Duration::from_millis(50),
};

/// When each message comes, and to which recipient.
type Schedule = Vec<(Duration, usize)>;

enum Step {
    Ready,
    Ended(Fate),
}

/// Runs a lane of so many recipients to its end, in time of its own: each recipient in order, so many
/// at once, and whoever fails waits for its own backoff. Answers when each message was sent.
fn run(fates: &[Fate], schedule: &Schedule, end: Duration) -> BTreeMap<usize, Duration> {
    let backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(120),
    };
    let circuit = Circuit::new(backoff, WIDTH);
    let begun = Instant::now();
    let mut queues: Vec<VecDeque<usize>> = vec![VecDeque::new(); fates.len()];
    let mut tries = vec![0_u32; fates.len()];
    let mut tickets: BTreeMap<usize, Ticket<'_>> = BTreeMap::new();
    let mut line: VecDeque<usize> = VecDeque::new();
    let mut sent = BTreeMap::new();
    let mut agenda: BinaryHeap<Reverse<(Duration, usize, usize)>> = BinaryHeap::new();
    let mut steps: Vec<Option<(usize, Step, Option<usize>)>> = Vec::new();
    let plan = |agenda: &mut BinaryHeap<_>, steps: &mut Vec<_>, at, who, step, message| {
        steps.push(Some((who, step, message)));
        agenda.push(Reverse((at, steps.len(), who)));
    };
    for (message, (at, who)) in schedule.iter().enumerate() {
        plan(
            &mut agenda,
            &mut steps,
            *at,
            *who,
            Step::Ready,
            Some(message),
        );
    }
    let mut busy = vec![false; fates.len()];
    while let Some(Reverse((now, step, _))) = agenda.pop() {
        if now > end {
            break;
        }
        let Some((who, step, message)) = steps[step - 1].take() else {
            continue;
        };
        match step {
            Step::Ready => {
                queues[who].extend(message);
                if message.is_none() {
                    busy[who] = false;
                }
                if !busy[who] && !queues[who].is_empty() {
                    busy[who] = true;
                    line.push_back(who);
                }
            }
            Step::Ended(fate) => {
                let ticket = tickets.remove(&who).expect("it was under way");
                let outage = ticket.end_at(&address(who), fate.end, "why", begun + now);
                let wait = match (fate.end, outage) {
                    (End::Answered, _) => {
                        sent.insert(queues[who].pop_front().expect("it was sent"), now);
                        tries[who] = 0;
                        Duration::ZERO
                    }
                    (_, Outage::Wait(wait)) => wait,
                    (_, Outage::No | Outage::Alone) => {
                        tries[who] += 1;
                        backoff.delay(tries[who])
                    }
                };
                plan(&mut agenda, &mut steps, now + wait, who, Step::Ready, None);
            }
        }
        // Whoever would wait in place asks again at the next step; nothing else happens in between.
        let mut patient = Vec::new();
        while tickets.len() < WIDTH
            && let Some(who) = line.pop_front()
        {
            match circuit.try_admit(&address(who), begun + now) {
                Ok(ticket) => {
                    tickets.insert(who, ticket);
                    let ends = now + fates[who].takes;
                    plan(
                        &mut agenda,
                        &mut steps,
                        ends,
                        who,
                        Step::Ended(fates[who]),
                        None,
                    );
                }
                Err(None) => patient.push(who),
                Err(Some(wait)) => {
                    plan(&mut agenda, &mut steps, now + wait, who, Step::Ready, None);
                }
            }
        }
        line.extend(patient);
    }
    sent
}

fn address(who: usize) -> Address {
    Address(who.to_string())
}

fn any_sickness() -> impl Strategy<Value = Fate> {
    let end = prop_oneof![
        Just(End::NoAnswer),
        Just(End::NotReached),
        Just(End::Refused),
        Just(End::Ours),
    ];
    let takes = prop_oneof![Just(50_u64), Just(2_000), Just(15_000), Just(30_000)];
    (end, takes).prop_map(|(end, takes)| Fate {
        end,
        takes: Duration::from_millis(takes),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any set of recipients that are not served, any interleaving: all others are served within
    /// bounded time, and once it is known who is not served, without noticing anything.
    #[test]
    fn recipients_that_fail_hold_up_nobody_else(
        sick in prop::collection::vec(any_sickness(), 0..12),
        healthy in 1_usize..6,
        early in prop::collection::vec((0_u64..20_000, 0_usize..100), 1..60),
        late in prop::collection::vec((0_u64..600_000, 0_usize..100), 1..60),
    ) {
        let mut fates = sick.clone();
        fates.extend(std::iter::repeat_n(HEALTHY, healthy));
        // Each first call may take one of the places for as long as it likes, and probe once.
        let first: Duration = sick.iter().map(|fate| fate.takes).sum();
        let learning = Duration::from_secs(60) + first
            + LONGEST_FRESH_WAIT * u32::try_from(sick.len()).expect("few");
        let mut schedule: Schedule = (0..fates.len()).map(|who| (Duration::ZERO, who)).collect();
        schedule.extend(early.iter().map(|(at, who)| {
            (Duration::from_millis(*at), who % fates.len())
        }));
        schedule.extend(late.iter().map(|(at, who)| {
            (learning + Duration::from_millis(*at), who % fates.len())
        }));
        let end = learning + Duration::from_secs(1200);
        let sent = run(&fates, &schedule, end);
        for (message, (at, who)) in schedule.iter().enumerate() {
            if fates[*who] != HEALTHY {
                continue;
            }
            let took = sent.get(&message).map(|then| *then - *at);
            let limit = if *at < learning { learning } else { Duration::from_secs(3) };
            prop_assert!(took.is_some_and(|took| took <= limit),
                "message {message} to {who} at {at:?}, known at {learning:?}: {took:?}");
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A provider that is down gets few calls, and nobody waits for long once it is back.
    #[test]
    fn an_outage_is_left_in_peace_and_ends(
        recipients in 1_usize..30,
        end in prop_oneof![Just(End::NoAnswer), Just(End::NotReached), Just(End::Refused)],
    ) {
        let fates = vec![Fate { end, takes: Duration::from_millis(20) }; recipients];
        let circuit = circuit();
        let begun = Instant::now();
        let mut now = Duration::ZERO;
        let mut calls = 0;
        while now < Duration::from_secs(3600) {
            for (who, fate) in fates.iter().enumerate() {
                if let Ok(ticket) = circuit.try_admit(&address(who), begun + now) {
                    calls += 1;
                    ticket.end_at(&address(who), fate.end, "down", begun + now);
                }
            }
            now += Duration::from_millis(500);
        }
        // 16 s between tries at least, once it has opened a few times.
        prop_assert!(calls < 10 + recipients + 3600 / 16 + 10, "{calls}");
        prop_assert!(!circuit.is_closed());
        let back = now;
        while !circuit.is_closed() && now < back + Duration::from_secs(120) {
            for who in 0..recipients {
                if let Ok(ticket) = circuit.try_admit(&address(who), begun + now) {
                    ticket.end_at(&address(who), End::Answered, "", begun + now);
                }
            }
            now += Duration::from_millis(500);
        }
        prop_assert!(circuit.is_closed());
    }
}
