//! A model of workers that own one lane in turn, with everything that may happen to them in any order.

use proptest::prelude::*;

use super::*;

const LIMIT: u32 = 5;
const WORKERS: usize = 3;

/// How an ownership ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The lane moves, or the worker is stopped: the owner takes its record back first.
    HandOver,
    /// The connection is lost: the owner takes its record back when the next owner has already looked.
    Cut,
    /// Killed from outside, at the steady pace of the schedule.
    Kill,
    /// Killed from outside while nothing is in hand, or after so long in hand that it proves nothing.
    LateKill,
}

struct Model {
    instances: Vec<Uuid>,
    log: Vec<Attempt>,
    /// Of owners that were cut off.
    owed: Vec<Attempt>,
}

impl Model {
    fn new() -> Self {
        Self {
            instances: (0..WORKERS).map(|_| Uuid::new_v4()).collect(),
            log: Vec::new(),
            owed: Vec::new(),
        }
    }

    /// Deaths as the worker reads them.
    fn deaths(&mut self, worker: usize, message: Uuid) -> u32 {
        let evidence = Evidence::read(&self.log, self.instances[worker]);
        self.log.append(&mut self.owed);
        evidence.deaths(message)
    }

    /// Deaths before a verdict: by then who was cut off has been heard of.
    fn confirmed(&mut self, worker: usize, message: Uuid) -> u32 {
        match self.deaths(worker, message) {
            LIMIT.. => self.deaths(worker, message),
            deaths => deaths,
        }
    }

    fn record(&mut self, worker: usize, message: Uuid, step: Step) -> Attempt {
        let instance = self.instances[worker];
        let attempt = Attempt {
            instance,
            message,
            step,
        };
        self.log.push(attempt);
        attempt
    }

    /// One ownership of a healthy message that takes `takes` to be handled, ended after `life`.
    fn own(&mut self, worker: usize, message: Uuid, takes: Duration, life: Duration, end: End) {
        let quiet = quiet_time(self.confirmed(worker, message), LIMIT);
        if quiet > Duration::ZERO {
            self.record(worker, message, Step::Waiting);
        }
        if life >= quiet {
            self.record(worker, message, Step::Begun);
        }
        let is_over = life >= quiet + takes.min(IN_HAND);
        if is_over || matches!(end, End::LateKill) {
            self.record(worker, message, Step::Ended);
        }
        let withdrawn = Attempt {
            instance: self.instances[worker],
            message,
            step: Step::Withdrawn,
        };
        match end {
            End::HandOver => self.log.push(withdrawn),
            End::Cut => self.owed.push(withdrawn),
            End::Kill | End::LateKill => self.instances[worker] = Uuid::new_v4(),
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::HandOver),
        Just(End::Cut),
        Just(End::Kill),
        Just(End::LateKill)
    ]
}

proptest! {
    #[test]
    fn what_happens_to_workers_kills_no_healthy_message(
        schedule in prop::collection::vec((0..WORKERS, 0_u64..30_000, end()), 1..60),
        pace in 0_u64..40_000,
        takes in 1_u64..60_000,
    ) {
        let message = Uuid::new_v4();
        let mut model = Model::new();
        for (worker, life, end) in schedule {
            prop_assert!(model.confirmed(worker, message) < LIMIT);
            let life = match end {
                End::Kill => pace,
                End::HandOver | End::Cut | End::LateKill => life,
            };
            let takes = Duration::from_millis(takes);
            model.own(worker, message, takes, Duration::from_millis(life), end);
        }
        prop_assert!(model.confirmed(0, message) < LIMIT);
    }

    #[test]
    fn a_message_that_ends_its_workers_is_proven_after_the_limit_whatever_else_happens(
        before in prop::collection::vec((0..WORKERS, 0_u64..30_000, end()), 0..10),
        dies_after in 0_u64..9_999,
        workers in prop::collection::vec(0..WORKERS, LIMIT as usize),
        hand_over in 0..LIMIT as usize,
    ) {
        let (message, neighbour) = (Uuid::new_v4(), Uuid::new_v4());
        let mut model = Model::new();
        let healthy = |model: &mut Model, worker, life, end| {
            let takes = Duration::from_millis(5);
            model.own(worker, neighbour, takes, Duration::from_millis(life), end);
        };
        for (worker, life, end) in before.clone() {
            healthy(&mut model, worker, life, end);
        }
        for (n, worker) in workers.into_iter().enumerate() {
            // What is ahead of it comes again and is done again.
            if let Some((_, life, _)) = before.get(n) {
                healthy(&mut model, worker, *life, End::HandOver);
            }
            let deaths = model.deaths(worker, message);
            prop_assert_eq!(deaths as usize, n);
            if n == hand_over {
                let lives = quiet_time(deaths, LIMIT) / 2;
                model.own(worker, message, IN_HAND, lives, End::HandOver);
            }
            let life = quiet_time(deaths, LIMIT) + Duration::from_millis(dies_after);
            model.own(worker, message, Duration::from_secs(60), life, End::Kill);
        }
        prop_assert_eq!(model.confirmed(0, message), LIMIT);
        prop_assert!(model.confirmed(0, neighbour) < LIMIT);
    }
}

#[test]
fn a_process_dies_once() {
    let (this, other, message) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let record = |instance, step| Attempt {
        instance,
        message,
        step,
    };
    let read = |records: &[Attempt]| Evidence::read(records, this).0.get(&message).copied();
    assert_eq!(read(&[]), None);
    let twice = [record(other, Step::Begun), record(other, Step::Begun)];
    assert_eq!(read(&twice), Some(1));
    assert_eq!(
        read(&[record(this, Step::Begun)]),
        Some(0),
        "this one lives"
    );
    let back = [record(other, Step::Begun), record(other, Step::Withdrawn)];
    assert_eq!(read(&back), None);
    let done = [record(other, Step::Begun), record(this, Step::Ended)];
    assert_eq!(read(&done), None);
    let quiet = [twice[0], record(Uuid::new_v4(), Step::Waiting)];
    assert_eq!(read(&quiet), Some(0), "nothing was in hand");
}

#[test]
fn the_quiet_time_doubles_up_to_the_time_in_hand() {
    let times: Vec<u64> = (0..LIMIT)
        .map(|deaths| quiet_time(deaths, LIMIT).as_millis() as u64)
        .collect();
    assert_eq!(times, [0, 1_250, 2_500, 5_000, 10_000]);
    assert_eq!(quiet_time(1, 1), IN_HAND);
}
