//! A room with a founder, for tests.

use ayni_core::epoch::EpochSecret;
use ayni_core::keys::{AccountKey, DeviceKey};
use ayni_core::room::{Genesis, Room};

/// A device and the room that it founded.
pub(crate) struct Founded {
    pub(crate) device: DeviceKey,
    pub(crate) room: Room,
}

/// Founds a room; another number gives other keys and another room.
pub(crate) fn founded(nth: u8) -> Founded {
    let device = DeviceKey::from_secrets(&[nth; 32], &[nth; 32]);
    let account = AccountKey::from_entropy(&[nth; 32]);
    let cert = account.certify(device.id(), device.hpke_public(), 1);
    let genesis = Genesis::group(account.id(), [nth; 32]);
    let secret = EpochSecret::new([nth; 32]);
    let (room, _) = Room::found(&genesis, &device, &cert, ("founder", None), secret, 1_000);
    Founded { device, room }
}
