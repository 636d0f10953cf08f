//! Pictures for tests, made by hand: what decodes them stays behind its own door.

/// Returns a PNG of random pixels, `side` × `side`, about `3 * side²` bytes, with a comment in it.
pub fn png(side: u32, seed: u32, comment: &str) -> Vec<u8> {
    let mut random = seed | 1;
    let mut pixels = Vec::new();
    for at in 0..side * (side * 3 + 1) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        // Each row begins with the number of its filter: none.
        let begins = at % (side * 3 + 1) == 0;
        pixels.push(if begins { 0 } else { random.to_le_bytes()[0] });
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let head = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    chunk(&mut png, *b"IHDR", &head);
    if !comment.is_empty() {
        chunk(&mut png, *b"tEXt", &[b"Comment\0", comment.as_bytes()].concat());
    }
    chunk(&mut png, *b"IDAT", &stored(&pixels));
    chunk(&mut png, *b"IEND", &[]);
    png
}

fn chunk(to: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    to.extend(u32::try_from(data.len()).expect("small").to_be_bytes());
    let body = [&kind, data].concat();
    to.extend(&body);
    to.extend(crc(&body).to_be_bytes());
}

/// Returns zlib's form of bytes that are not compressed.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = vec![0x78, 1];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        zlib.push(u8::from(blocks.peek().is_none()));
        let len = u16::try_from(block.len()).expect("of a chunk");
        zlib.extend(len.to_le_bytes());
        zlib.extend((!len).to_le_bytes());
        zlib.extend(block);
    }
    let (mut a, mut b) = (1, 0);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    zlib.extend((b << 16 | a).to_be_bytes());
    zlib
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), shift)
    };
    !bytes.iter().fold(u32::MAX, step)
}
