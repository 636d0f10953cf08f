//! Who keeps a copy of a content that few have: each member's node decides for itself, and all decide
//! alike.
//!
//! Every device has a rank for every content, by a hash of both ("rendezvous hashing"): nobody has to be
//! asked, different contents fall to different devices, and a device that comes or goes changes the ranks of
//! no others. Of the devices that are there and have no copy the first ones make the copies that lack. One
//! that does not agree to, or is not able to, is not told apart from one that is slow: with each round in
//! which copies still lack twice as many devices feel called.
//!
//! The same rank says who may drop a copy: whoever sees one that ranks before it. So the first of all that
//! have one keeps it, however many drop theirs at once, each because of the others.
//!
//! Invariant: who drops a copy saw one with a device of a better rank; the best of those that have one never
//! does. Non-goals: who has what (the caller asks), and members that lie about it.
//!
//! Source: D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (IEEE/ACM
//! Transactions on Networking, 1998).

use crate::id::{BlobId, PeerId};

/// Copies of each attachment that a room's members make sure of, where nothing else is set: the loss of two
/// devices loses nothing.
pub const COPIES: usize = 3;

/// The rank of a device for a content: the lowest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank([u8; 32]);

impl Rank {
    /// Returns the rank of a device for a content.
    pub fn of(content: &BlobId, device: &PeerId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("ayni rank of a copy v1");
        hasher.update(&content.0);
        hasher.update(&device.0);
        Self(*hasher.finalize().as_bytes())
    }
}

/// What one device sees of the copies of a content.
#[derive(Debug, Clone, Copy)]
pub struct Copies<'a> {
    /// The content.
    pub content: BlobId,
    /// This device.
    pub me: PeerId,
    /// The other members' devices that are there, each once, and whether it has a copy.
    pub others: &'a [(PeerId, bool)],
}

impl Copies<'_> {
    /// Returns how many of the others have a copy.
    pub fn held(&self) -> usize {
        self.others.iter().filter(|(_, has)| *has).count()
    }

    /// Whether this device, which has no copy, is to make one, so that there are `copies`. `rounds` is for how
    /// many rounds fewer were seen.
    pub fn calls_me(&self, copies: usize, rounds: u32) -> bool {
        let lacking = copies.saturating_sub(self.held());
        if lacking == 0 {
            return false;
        }
        let called = lacking.saturating_mul(2usize.saturating_pow(rounds));
        let mine = Rank::of(&self.content, &self.me);
        let others = self.others.iter().filter(|(_, has)| !has);
        let before = others.filter(|(other, _)| Rank::of(&self.content, other) < mine);
        before.take(called).count() < called
    }

    /// Whether this device, which has a copy, may drop it without the last one being lost: another has one,
    /// and keeps it before this one does.
    pub fn lets_me_go(&self) -> bool {
        let mine = Rank::of(&self.content, &self.me);
        let mut holders = self.others.iter().filter(|(_, has)| *has);
        holders.any(|(other, _)| Rank::of(&self.content, other) < mine)
    }
}
