//! What waits to be fetched without being asked for, and whose turn is next.
//!
//! Anyone may post pictures that nobody has, and as many as they like. So rooms take turns, and in a room
//! its authors do; little is kept of each author; one of whose pictures nothing came has one try at a time
//! until another one succeeds; and what was tried often is let go.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use ayni_core::id::{AccountId, EventId, RoomId};

/// Pictures of one author that wait in one room; further ones are found when there is room again.
const MAX_OF_AUTHOR: usize = 200;
/// Pictures that wait in all: 1 MB or so.
const MAX_WAITING: usize = 10_000;
/// Fetches of one author's pictures of one room at a time, so that others have theirs.
const MAX_RUNNING: usize = 4;
/// How often a picture is tried of which nothing comes: more than two hours in all.
const MAX_TRIES: u32 = 20;
/// How long one rests of which nothing came, in ms: doubled each time, up to [`LONGEST_REST`].
const FIRST_REST: u64 = 5_000;
/// See [`FIRST_REST`]; ms.
const LONGEST_REST: u64 = 600_000;

/// How long one rests that could not begin, in ms: the disk may be full, which is not over in seconds.
const NOT_BEGUN_REST: u64 = 60_000;

/// Whose a picture is: the room, and who posted it there.
pub(super) type Whose = (RoomId, AccountId);

/// A picture that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) event: EventId,
    tried: u32,
    /// When it is its turn again, in the clock of whoever asks; ms.
    not_before: u64,
}

impl Due {
    pub(super) fn new(event: EventId) -> Self {
        Self { event, tried: 0, not_before: 0 }
    }
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// It is here, or never will be: either way it is not wanted any more.
    Over,
    /// Nothing came of it.
    Nothing,
    /// It could not begin.
    NotBegun,
    /// There is no space for what nobody asked for.
    NoSpace,
}

/// What becomes of a picture after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It waits for its next try.
    Waits,
    /// It would, but too many do: it is to be found again.
    NoRoom,
    /// It is not tried any more.
    LetGo,
}

#[derive(Debug, Default)]
struct Author {
    waiting: VecDeque<Due>,
    running: usize,
    /// Whether nothing came of the last try.
    stalled: bool,
}

impl Author {
    fn may_run(&self) -> bool {
        self.running < if self.stalled { 1 } else { MAX_RUNNING }
    }

    fn take(&mut self, now: u64) -> Option<Due> {
        if !self.may_run() {
            return None;
        }
        let at = self.waiting.iter().position(|due| due.not_before <= now)?;
        let due = self.waiting.remove(at)?;
        self.running += 1;
        Some(due)
    }
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    authors: BTreeMap<Whose, Author>,
    count: usize,
    /// Whose turn was the last of all, and of each room.
    last: Option<RoomId>,
    last_of: BTreeMap<RoomId, AccountId>,
}

impl Queue {
    /// Lets a picture wait; false where too many do already.
    pub(super) fn push(&mut self, whose: Whose, due: Due) -> bool {
        let author = self.authors.entry(whose).or_default();
        if author.waiting.len() >= MAX_OF_AUTHOR || self.count >= MAX_WAITING {
            return false;
        }
        author.waiting.push_back(due);
        self.count += 1;
        true
    }

    /// Returns the picture whose turn it is; [`Self::ended`] is to be told how its try ended.
    pub(super) fn take(&mut self, now: u64) -> Option<(Whose, Due)> {
        let mut rooms: Vec<RoomId> = self.authors.keys().map(|(room, _)| *room).collect();
        rooms.dedup();
        let next = self.last.map_or(0, |last| rooms.partition_point(|room| *room <= last));
        rooms.rotate_left(next);
        let found = rooms.into_iter().find_map(|room| self.take_of(room, now))?;
        self.count -= 1;
        self.last = Some(found.0.0);
        self.last_of.insert(found.0.0, found.0.1);
        Some(found)
    }

    fn take_of(&mut self, room: RoomId, now: u64) -> Option<(Whose, Due)> {
        let (first, end) = ((room, AccountId([0; 32])), (room, AccountId([255; 32])));
        let last = self.last_of.get(&room).map_or(first, |last| (room, *last));
        let after = (Bound::Excluded(last), Bound::Included(end));
        let upto = (Bound::Included(first), Bound::Included(last));
        for turn in [after, upto] {
            for (whose, author) in self.authors.range_mut(turn) {
                if let Some(due) = author.take(now) {
                    return Some((*whose, due));
                }
            }
        }
        None
    }

    /// Hears how a try ended; what is to be tried again waits from now on. `jitter` is from 0.75 to 1.25.
    pub(super) fn ended(
        &mut self,
        whose: Whose,
        due: Due,
        how: Tried,
        (now, jitter): (u64, f64),
    ) -> Then {
        let author = self.authors.entry(whose).or_default();
        author.running = author.running.saturating_sub(1);
        match how {
            Tried::Over => author.stalled = false,
            Tried::Nothing => author.stalled = true,
            Tried::NotBegun | Tried::NoSpace => {}
        }
        let tried = due.tried + u32::from(how == Tried::Nothing);
        let mut then = Then::LetGo;
        if how != Tried::Over && tried < MAX_TRIES {
            let rest = match how {
                Tried::NotBegun => NOT_BEGUN_REST,
                Tried::NoSpace => LONGEST_REST,
                _ => FIRST_REST.saturating_mul(1 << tried.min(16)).min(LONGEST_REST),
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "ten minutes at most"
            )]
            let rest = (rest as f64 * jitter) as u64;
            let waits = self.push(whose, Due { tried, not_before: now + rest, ..due });
            then = if waits { Then::Waits } else { Then::NoRoom };
        }
        let idle = |author: &Author| author.waiting.is_empty() && author.running == 0;
        if self.authors.get(&whose).is_some_and(idle) {
            self.authors.remove(&whose);
            if self
                .authors
                .range((whose.0, AccountId([0; 32]))..)
                .next()
                .is_none_or(|it| it.0.0 != whose.0)
            {
                self.last_of.remove(&whose.0);
            }
        }
        then
    }

    /// Lets all pictures of a room be tried at once: someone new may have them.
    pub(super) fn wake(&mut self, room: RoomId) {
        let of = (room, AccountId([0; 32]))..=(room, AccountId([255; 32]));
        for (_, author) in self.authors.range_mut(of) {
            author.waiting.iter_mut().for_each(|due| due.not_before = 0);
        }
    }

    /// Returns when the next one may be tried, of those whose authors may run; none where nothing waits.
    pub(super) fn next_due(&self) -> Option<u64> {
        let may = self.authors.values().filter(|author| author.may_run());
        may.flat_map(|author| &author.waiting).map(|due| due.not_before).min()
    }

    /// Whether few wait, so that more should be looked for.
    pub(super) fn has_room(&self) -> bool {
        self.count < MAX_WAITING / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(n: u8) -> RoomId {
        RoomId([n; 32])
    }

    fn whose(r: u8, author: u8) -> Whose {
        (room(r), AccountId([author; 32]))
    }

    fn due(n: u16) -> Due {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Due::new(EventId(id))
    }

    #[test]
    fn rooms_and_authors_take_turns_however_many_one_posts() {
        let mut queue = Queue::default();
        let taken = (0..1_000).filter(|n| queue.push(whose(1, 1), due(*n))).count();
        assert_eq!(taken, MAX_OF_AUTHOR);
        queue.push(whose(1, 2), due(2_000));
        queue.push(whose(2, 3), due(3_000));
        let first: Vec<Whose> = (0..4).map(|_| queue.take(0).expect("one").0).collect();
        assert_eq!(first, [whose(1, 1), whose(2, 3), whose(1, 2), whose(1, 1)]);
    }

    #[test]
    fn hazard_26_an_author_of_what_nobody_has_holds_one_place() {
        let mut queue = Queue::default();
        (0..100).for_each(|n| assert!(queue.push(whose(1, 1), due(n))));
        let (of, tried) = queue.take(0).expect("one");
        queue.ended(of, tried, Tried::Nothing, (0, 1.0));
        assert!(queue.take(0).is_some());
        assert!(queue.take(0).is_none(), "one at a time");
        (200..210).for_each(|n| assert!(queue.push(whose(1, 2), due(n))));
        let others = std::iter::from_fn(|| queue.take(0)).filter(|it| it.0 == whose(1, 2)).count();
        assert_eq!(others, MAX_RUNNING);
    }

    #[test]
    fn what_was_tried_often_is_let_go_and_nothing_is_left_of_it() {
        let mut queue = Queue::default();
        queue.push(whose(1, 1), due(1));
        let (mut now, mut tries) = (0, 0);
        while let Some(next) = queue.next_due() {
            now = now.max(next);
            let (of, tried) = queue.take(now).expect("due");
            let then = queue.ended(of, tried, Tried::Nothing, (now, 1.0));
            tries += 1;
            assert_eq!(then, if tries < MAX_TRIES { Then::Waits } else { Then::LetGo });
        }
        assert_eq!(tries, MAX_TRIES);
        assert!(now > 2 * 3_600_000, "{now} ms");
        assert!(queue.authors.is_empty() && queue.last_of.is_empty() && queue.count == 0);
    }

    #[test]
    fn what_finds_no_room_for_its_next_try_is_to_be_found_again() {
        let mut queue = Queue::default();
        let author = u16::try_from(MAX_OF_AUTHOR).expect("few");
        (0..author).for_each(|n| assert!(queue.push(whose(1, 1), due(n))));
        let (of, tried) = queue.take(0).expect("one");
        assert!(queue.push(whose(1, 1), due(author)));
        assert_eq!(queue.ended(of, tried, Tried::NotBegun, (0, 1.0)), Then::NoRoom);
        let (of, tried) = queue.take(0).expect("one");
        assert_eq!(queue.ended(of, tried, Tried::Over, (0, 1.0)), Then::LetGo);
    }

    #[test]
    fn someone_new_wakes_a_room() {
        let mut queue = Queue::default();
        queue.push(whose(1, 1), due(1));
        let (of, tried) = queue.take(0).expect("one");
        queue.ended(of, tried, Tried::Nothing, (0, 1.0));
        assert_eq!(queue.take(1), None);
        queue.wake(room(2));
        assert_eq!(queue.take(1), None);
        queue.wake(room(1));
        assert!(queue.take(1).is_some());
    }
}
