//! What every bus must keep, on each bus: the same cases on the SQLite file and on RabbitMQ.
//!
//! Needs `TEST_AMQP_URL` (see `tests/servers`); the cases of a broker in distress start one of their own.

#[path = "cases/mod.rs"]
mod cases;
#[path = "support/mod.rs"]
mod support;

/// Makes a test of each case on each bus.
macro_rules! contract {
    ($($group:ident: $($case:ident),+;)+) => {
        mod embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() -> crate::support::Test {
                    crate::cases::$group::$case(&crate::support::world::World::embedded().await?).await
                }
            )+)+
        }
        mod amqp {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() -> crate::support::Test {
                    crate::cases::$group::$case(&crate::support::world::World::amqp().await?).await
                }
            )+)+
        }
    };
}

contract! {
    order:
        messages_come_in_order_and_go_when_settled,
        settling_in_any_order_is_possible,
        no_more_than_the_prefetch_is_out,
        unsettled_messages_return_in_order_when_the_intake_closes,
        unsettled_messages_return_in_order_when_the_intake_is_dropped,
        unsettled_messages_return_in_order_with_the_next_owner,
        unsettled_messages_return_in_order_after_a_crash,
        intakes_of_any_width_keep_the_order,
        redeliveries_are_counted,
        a_cancelled_wait_loses_nothing;
    publishing:
        a_big_batch_is_pipelined_and_keeps_its_order,
        concurrent_batches_keep_their_orders,
        failures_of_a_batch_are_a_suffix,
        a_missing_lane_is_named_and_harms_no_other,
        a_removed_lane_loses_its_messages,
        depth_counts_what_waits,
        depth_counts_what_an_owner_holds,
        envelopes_travel_untouched;
    ownership:
        a_lane_has_one_owner,
        a_lane_is_free_after_release,
        a_lane_is_free_after_the_claim_is_dropped,
        groups_are_counted_apart,
        a_lease_ends_with_the_claim,
        claims_outlive_the_membership;
    events:
        events_reach_the_lanes_that_want_them,
        a_later_filter_replaces_the_earlier,
        a_filter_of_another_organization_replaces_the_earlier,
        notices_reach_every_listener,
        a_watcher_sees_everything;
    lanes:
        a_backlog_is_worked_off_whole_and_in_order,
        a_backlog_of_deliveries_or_events_is_worked_off;
    dead:
        letters_stay_until_they_are_replayed,
        a_letter_that_is_buried_twice_is_there_once,
        what_is_no_envelope_still_travels,
        a_letter_for_a_lane_that_is_gone_stays;
}
