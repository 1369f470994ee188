//! The router's store, handler, relay and matching: the same cases on SQLite and on PostgreSQL (`TEST_POSTGRES_URL`).

mod changing;
mod content;
mod echoes;
mod gathering;
mod keeping;
mod matching;
mod receiving;
mod relaying;
mod sending;
mod support;

/// Runs each case on both databases.
macro_rules! on_both {
    ($($module:ident::$case:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() -> anyhow::Result<()> {
                    crate::support::run(crate::support::Kind::Sqlite, crate::$module::$case).await
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() -> anyhow::Result<()> {
                    crate::support::run(crate::support::Kind::Postgres, crate::$module::$case).await
                }
            )+
        }
    };
}

on_both! {
    receiving::a_first_message_is_stored_and_told,
    receiving::a_message_that_comes_twice_is_one_message,
    receiving::two_owners_at_once_store_every_message_once,
    receiving::places_rise_without_gaps,
    receiving::a_closed_conversation_reopens_or_a_new_one_begins,
    receiving::statuses_move_forward_and_are_told_once,
    receiving::who_leaves_cannot_be_written_to_until_they_write,
    receiving::without_a_fresh_lease_nothing_is_written,
    receiving::one_that_cannot_be_stored_spoils_no_batch,
    receiving::what_belongs_to_another_organization_is_dead,
    receiving::what_cannot_be_read_is_dead,
    receiving::text_that_a_database_refuses_is_stored,
    receiving::a_database_that_is_away_uses_up_no_attempts,
    receiving::a_schema_that_is_behind_makes_nothing_dead,
    gathering::lanes_that_wait_share_a_transaction,
    gathering::every_lane_keeps_its_order,
    gathering::one_that_cannot_be_stored_spoils_no_other_lane,
    gathering::a_lane_that_was_lost_is_left_out,
    gathering::a_conversation_that_is_held_holds_up_no_other_lane,
    gathering::a_conversation_that_is_held_holds_up_no_other_contact,
    gathering::a_lane_in_trouble_stays_apart,
    gathering::whoever_is_given_up_with_the_turn_leaves_nobody_waiting,
    content::everything_about_a_message_reads_back,
    content::what_happens_to_a_message_is_kept,
    content::changes_wait_for_their_message_across_batches,
    content::reading_reads_what_was_sent,
    content::a_typed_answer_is_a_choice,
    content::a_choice_by_its_id_alone_gets_its_title,
    content::a_contact_is_kept_whole,
    content::channels_say_how_they_are,
    changing::a_change_is_recorded_told_and_delivered,
    changing::a_refused_change_is_undone,
    changing::a_change_on_a_channel_that_is_gone_is_undone,
    changing::what_cannot_be_changed_is_refused,
    changing::typing_and_reading_are_delivered_once,
    changing::an_older_store_is_brought_up_to_date,
    echoes::our_reactions_and_theirs_are_apart,
    echoes::an_echo_before_its_status_is_merged,
    echoes::what_came_before_the_status_is_taken_up,
    echoes::a_reading_is_kept_for_what_is_sent_later,
    echoes::an_older_question_does_not_displace_a_later_one,
    echoes::every_order_ends_alike,
    sending::a_reply_is_stored_with_its_delivery_and_its_event,
    sending::an_idempotency_key_makes_one_message,
    sending::what_cannot_be_sent_is_refused,
    sending::a_dead_delivery_is_queued_once_more,
    sending::a_conversation_is_closed_and_reopened,
    sending::organizations_do_not_see_each_other,
    matching::who_waits_gets_whoever_comes,
    matching::a_freed_agent_takes_the_next,
    matching::capacity_is_never_exceeded,
    matching::the_sweep_finds_who_waits_in_vain,
    matching::an_organization_that_fails_holds_up_no_other,
    relaying::what_a_renewed_delivery_lane_held_is_emitted_again,
    matching::a_person_may_assign_beyond_capacity,
    matching::a_conversation_goes_back_to_those_who_wait,
    matching::who_waits_for_an_absent_agent_waits_for_another,
    matching::the_chores_release_the_conversations_of_absent_agents,
    relaying::what_is_written_is_published_in_order_and_cleared,
    relaying::a_crash_before_clearing_publishes_again,
    relaying::readers_see_once_what_two_relays_published,
    relaying::positions_never_appear_behind_a_reader,
    relaying::a_channel_that_is_gone_blocks_nobody,
    relaying::a_lane_that_fails_holds_up_nobody_else,
    relaying::rows_of_lanes_that_are_no_more_are_relayed,
    relaying::lanes_that_are_no_more_take_turns,
    relaying::a_relay_is_woken_from_another_process,
    keeping::what_is_old_goes_in_bounded_steps,
    keeping::the_config_is_written_down,
    keeping::the_demo_has_an_agent,
    keeping::a_later_version_adds_columns_under_a_running_process,
    keeping::a_transaction_given_up_while_it_begins_is_ended,
}
