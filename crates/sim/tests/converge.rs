//! Whatever the network does, everyone ends with the same room: every scenario, from several seeds.

use ayni_sim::network::Conditions;
use ayni_sim::scenarios::{SCENARIOS, Scenario, scenario};
use ayni_sim::verdict;
use proptest::prelude::*;

fn converges(name: &str) {
    let scenario = scenario(name).expect("in the table");
    for seed in 0..scenario.tested {
        if let Err(failure) = verdict::run(scenario, seed) {
            panic!("{failure}");
        }
    }
}

/// A test for each scenario, so that they run at once and a failure says which it is.
macro_rules! scenarios {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            converges($name);
        })*

        #[test]
        fn every_scenario_is_tested() {
            let tested = [$($name),*];
            let short = SCENARIOS.iter().filter(|it| it.tested > 0).map(|it| it.name);
            let missing: Vec<_> = short.filter(|it| !tested.contains(it)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    };
}

scenarios! {
    five_peers_on_a_good_network: "calm";
    two_parties_whatever_is_lost_repeated_and_shuffled: "two";
    five_parties_whatever_is_lost_repeated_and_shuffled: "five";
    a_direct_room_that_both_sides_found: "direct";
    without_any_live_message: "silent-gossip";
    hazard_21_a_network_that_parts_and_heals: "parted";
    hazard_20_peers_that_stop_at_any_moment: "restarts";
    newcomers_while_connections_drop: "newcomers";
    the_founder_is_gone_for_good: "founder-gone";
    members_leave: "leavers";
    wall_clocks_are_wrong: "wrong-clocks";
    a_crowd_with_few_neighbors_each: "crowd";
    hazard_9_members_and_admins_are_removed: "removals";
    hazard_5_siblings_and_rings_change_nothing: "siblings";
    hazard_14_who_was_removed_comes_back_by_a_new_invite_only: "readmitted";
    invites_are_ended_while_some_come_with_them: "revoked";
    the_room_is_set_up_at_once: "settings";
    newcomers_read_nothing_that_was_said_without_them: "from-joining";
    hazard_26_slow_peers_hold_up_nobody: "slow";
    hazard_1_two_branches_of_logs: "liars-fork";
    hazard_26_peers_that_serve_what_is_wrong_or_nothing: "liars-serve";
    hazard_4_liars_go_on_after_their_removal: "liars-stay";
    all_of_it_among_sixteen: "storm";
}

#[test]
fn a_seed_says_everything() {
    let scenario = scenario("five").expect("in the table");
    let run = |seed| verdict::run(scenario, seed).expect("it converges");
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).state, run(8).state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn any_network_gives_one_room(
        seed in any::<u64>(), peers in 2usize..6, drops in 0u64..12, partings in 0u64..3,
        restarts in 0u64..6, loss in 0u32..1000, repeat in 0u32..1000, jitter_ms in 0u64..2000,
        skew_ms in 0u64..600_000,
    ) {
        let base = *scenario("five").expect("in the table");
        let conditions = Conditions {
            loss_permille: loss,
            repeat_permille: repeat,
            jitter_ms,
            ..base.conditions
        };
        let scenario = Scenario {
            name: "any", peers, drops, partings, restarts, skew_ms, conditions,
            messages: 60, span_ms: 30_000, ..base
        };
        if let Err(failure) = verdict::run(&scenario, seed) {
            // The table does not know it: the parameters that proptest prints say the rest.
            prop_assert!(false, "{}", failure);
        }
    }
}
