use tributary_base::backoff::Backoff;

use super::{
    super::settling::{SETTLE_AFTER, SETTLE_ALONE_AFTER},
    *,
};
use crate::{Envelope, EventId, OrganizationId, message::ContactTyping};

fn policy() -> Policy {
    Policy {
        backoff: Backoff::SERVER,
        longest_wait: Duration::from_secs(1),
        max_attempts: 3,
        max_age: Duration::MAX,
        prefetch: 200,
        concurrency: 10,
        hold_limit: Duration::from_secs(600),
        crash_limit: 5,
    }
}

fn taken(tag: u64) -> Taken {
    let typing = serde_json::json!({"origin": {"channel_id": "shop", "address": "7", "occurred_at": Utc::now()}});
    let typing: ContactTyping = serde_json::from_value(typing).expect("an event");
    let envelope = Envelope::wrap(
        EventId::generate(),
        "/channels/shop".to_owned(),
        OrganizationId::from("acme"),
        None,
        &typing,
    );
    Taken {
        tag: Tag(tag),
        redeliveries: 0,
        body: bytes::Bytes::new(),
        envelope,
    }
}

const NONE: [u64; 0] = [];

/// A desk with a job in flight for each tag.
fn busy(tags: std::ops::Range<u64>, now: Instant) -> (Desk, Vec<Job>) {
    let mut desk = Desk::new(Lane::Inbound(0), policy(), 1);
    for tag in tags {
        desk.accept(taken(tag), Some(tag.to_string()), now);
    }
    let mut jobs = Vec::new();
    while let Some(job) = desk.next_job(now) {
        jobs.push(job);
    }
    (desk, jobs)
}

fn complete(desk: &mut Desk, job: Job, now: Instant) {
    let report = Report {
        key: job.key,
        finished: job.items,
        left: Vec::new(),
        wait: None,
    };
    assert_eq!(desk.complete(report, now), None);
}

fn tags(due: &[(Tag, Option<EventId>)]) -> Vec<u64> {
    due.iter().map(|(tag, _)| tag.0).collect()
}

#[test]
fn what_is_finished_waits_for_its_neighbours_but_not_for_long() {
    let begun = Instant::now();
    let (mut desk, mut jobs) = busy(1..6, begun);
    // 5 and 2 are finished; 1 is still worked on.
    complete(&mut desk, jobs.remove(4), begun);
    complete(&mut desk, jobs.remove(1), begun);
    assert_eq!(tags(&desk.take_due(begun)), NONE);
    let soon = begun + SETTLE_AFTER;
    assert_eq!(desk.settle_at(), Some(soon));
    assert_eq!(tags(&desk.take_due(soon)), NONE, "1 comes before them");
    complete(&mut desk, jobs.remove(0), soon);
    let later = soon + SETTLE_AFTER;
    let due = desk.take_due(later);
    assert_eq!(tags(&due), [1, 2], "in one acknowledgement");
    desk.settled(&due);
    let late = begun + SETTLE_ALONE_AFTER;
    assert_eq!(tags(&desk.take_due(late)), [5], "3 takes too long");
    assert_eq!(desk.settle_at(), None);
}

#[test]
fn what_is_deferred_waits_alone_and_uses_up_no_tries() {
    let mut now = Instant::now();
    let (mut desk, mut jobs) = busy(1..3, now);
    let other = jobs.remove(1);
    let mut deferred = jobs.remove(0);
    for round in 0..policy().max_attempts * 3 {
        let wait = Wait::Defer {
            after: Duration::from_millis(100),
            reason: "the account is not served".to_owned(),
        };
        let report = Report {
            key: deferred.key,
            finished: Vec::new(),
            left: deferred.items,
            wait: Some(wait),
        };
        let waiting = desk.complete(report, now).expect("it waits");
        assert!(matches!(waiting, Waiting::Key { attempt: 0, wait, .. } if !wait.is_zero()));
        assert_eq!(desk.paused(), None, "round {round}");
        assert!(desk.next_job(now).is_none(), "not before its time");
        now = desk.next_due().expect("a time");
        deferred = desk.next_job(now).expect("its turn");
        assert_eq!(deferred.kind, JobKind::Handle, "round {round}");
    }
    complete(&mut desk, other, now);
    complete(&mut desk, deferred, now);
}

#[test]
fn many_that_are_finished_do_not_wait() {
    let now = Instant::now();
    let few = u64::from(policy().prefetch) / 4 - 1;
    let mut desk = Desk::new(Lane::Inbound(0), policy(), 1);
    for tag in 0..few + 2 {
        desk.accept(taken(tag), Some(tag.to_string()), now);
    }
    let finish = |desk: &mut Desk| {
        let job = desk.next_job(now).expect("a job");
        complete(desk, job, now);
    };
    for _ in 0..few {
        finish(&mut desk);
    }
    assert_eq!(tags(&desk.take_due(now)), NONE);
    finish(&mut desk);
    assert_eq!(desk.take_due(now).len() as u64, few + 1);
}

#[test]
fn without_work_everything_is_settled_at_once() {
    let now = Instant::now();
    let (mut desk, jobs) = busy(1..4, now);
    for job in jobs.into_iter().rev() {
        complete(&mut desk, job, now);
    }
    assert_eq!(tags(&desk.take_due(now)), [1, 2, 3]);
    assert_eq!(desk.settle_at(), None);
}

#[test]
fn what_was_handed_out_is_accounted_for_wherever_it_is() {
    let now = Instant::now();
    let (mut desk, mut jobs) = busy(1..6, now);
    assert_eq!(desk.stranded(5), 0, "in jobs");
    assert_eq!(
        desk.stranded(6),
        1,
        "one was handed out and never came here"
    );
    complete(&mut desk, jobs.remove(0), now);
    assert_eq!(desk.stranded(5), 0, "finished");
    let job = jobs.remove(0);
    let report = Report {
        key: job.key,
        finished: Vec::new(),
        left: job.items,
        wait: Some(Wait::Retry {
            after: None,
            reason: "not now".to_owned(),
        }),
    };
    assert!(desk.complete(report, now).is_some());
    assert_eq!(desk.stranded(5), 0, "waiting for a time");
    let due = desk.take_due(now + SETTLE_AFTER);
    desk.settled(&due);
    assert_eq!(desk.stranded(4), 0, "settled");
    desk.give_back();
    assert_eq!(desk.stranded(0), 0);
    let mut desk = Desk::new(Lane::Inbound(0), policy(), 1);
    desk.accept(taken(1), Some("a".to_owned()), now);
    assert_eq!(desk.stranded(1), 1, "it could be worked on and is not");
}

#[test]
fn waits_are_as_asked_for_plus_a_second_at_most() {
    let desk = Desk::new(
        Lane::Inbound(0),
        Policy {
            longest_wait: Duration::from_secs(3_600),
            ..policy()
        },
        1,
    );
    for (asked, most) in [(2_284.8, 2_285.8), (2.0, 2.2), (7_200.0, 3_601.0)] {
        for _ in 0..50 {
            let wait = desk.delay(Some(Duration::from_secs_f64(asked)), 1);
            let least = Duration::from_secs_f64(asked.min(3_600.0));
            assert!(
                wait >= least && wait <= Duration::from_secs_f64(most),
                "{wait:?}"
            );
        }
    }
}
