//! Files that a customer sends when a test or the page brings none: small, valid, and each another.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A file out of nothing.
pub(crate) struct Sample {
    pub(crate) mime: &'static str,
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A file of that kind, different for each `number`; `None` for kinds that cannot be made here.
pub(crate) fn of(kind: &str, number: u64) -> Option<Sample> {
    Some(match kind {
        "image" => Sample { mime: "image/png", name: "foto.png", bytes: png(number) },
        "audio" => Sample { mime: "audio/ogg; codecs=opus", name: "bericht.ogg", bytes: ogg(number) },
        "document" => Sample { mime: "application/pdf", name: "offerte.pdf", bytes: pdf(number) },
        "sticker" => Sample { mime: "image/webp", name: "sticker.webp", bytes: webp() },
        _ => return None,
    })
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;

/// A picture of a hill under the sky, 8-bit RGB, in colours by number.
fn png(number: u64) -> Vec<u8> {
    let tone =
        |shift: u32| u32::try_from((number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> shift) & 0xFF).unwrap_or(0);
    let (red, green, blue) = (tone(56), tone(48), tone(40));
    let mut rows = Vec::new();
    for y in 0..HEIGHT {
        rows.push(0);
        for x in 0..WIDTH {
            let hill = 70 + (x * (WIDTH - x)) / 200 * (red % 3 + 1) / 3;
            let light = y * 90 / HEIGHT;
            let pixel = if y > hill % HEIGHT {
                [red / 3 + 20, green / 2 + 60, blue / 3 + 10]
            } else {
                [red / 4 + 120 + light, green / 6 + 150 + light / 2, 225]
            };
            rows.extend(pixel.map(|part| u8::try_from(part.min(255)).unwrap_or(u8::MAX)));
        }
    }
    let mut bytes = vec![0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
    let mut header = Vec::new();
    header.extend_from_slice(&WIDTH.to_be_bytes());
    header.extend_from_slice(&HEIGHT.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    chunk(&mut bytes, *b"IHDR", &header);
    chunk(&mut bytes, *b"IDAT", &zlib(&rows));
    chunk(&mut bytes, *b"tEXt", format!("Comment\0{number}").as_bytes());
    chunk(&mut bytes, *b"IEND", &[]);
    bytes
}

fn chunk(bytes: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap_or(0).to_be_bytes());
    let body: Vec<u8> = kind.into_iter().chain(content.iter().copied()).collect();
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc_reflected(&body).to_be_bytes());
}

/// Stored, not compressed: valid is enough here.
fn zlib(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x78, 0x01];
    let mut blocks = content.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        bytes.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(block);
    }
    let (low, high) = content.iter().fold((1u32, 0u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    bytes.extend_from_slice(&((high << 16) | low).to_be_bytes());
    bytes
}

/// CRC-32 as PNG has it.
fn crc_reflected(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}

/// CRC-32 as Ogg has it: the other way round, from zero.
fn crc_plain(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| {
            (sum << 1) ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

/// One second of silence: Ogg, Opus, mono.
fn ogg(number: u64) -> Vec<u8> {
    const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
    const PACKETS: u64 = 50;
    const SAMPLES_PER_PACKET: u64 = 960;
    let mut head = b"OpusHead".to_vec();
    head.extend_from_slice(&[1, 1, 0, 0]);
    head.extend_from_slice(&48_000u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]);
    let comment = format!("number={number}");
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&5u32.to_le_bytes());
    tags.extend_from_slice(b"loket");
    tags.extend_from_slice(&1u32.to_le_bytes());
    tags.extend_from_slice(&u32::try_from(comment.len()).unwrap_or(0).to_le_bytes());
    tags.extend_from_slice(comment.as_bytes());
    let silence: Vec<&[u8]> = (0..PACKETS).map(|_| &SILENCE[..]).collect();
    let mut bytes = ogg_page(0x02, 0, 0, &[&head]);
    bytes.extend(ogg_page(0x00, 0, 1, &[&tags]));
    bytes.extend(ogg_page(0x04, PACKETS * SAMPLES_PER_PACKET, 2, &silence));
    bytes
}

/// A page of packets that are all shorter than 255 bytes.
fn ogg_page(flags: u8, position: u64, sequence: u32, packets: &[&[u8]]) -> Vec<u8> {
    const CHECKSUM_AT: usize = 22;
    let mut page = b"OggS".to_vec();
    page.extend_from_slice(&[0, flags]);
    page.extend_from_slice(&position.to_le_bytes());
    page.extend_from_slice(&7u32.to_le_bytes());
    page.extend_from_slice(&sequence.to_le_bytes());
    page.extend_from_slice(&[0; 4]);
    page.push(u8::try_from(packets.len()).unwrap_or(u8::MAX));
    page.extend(packets.iter().map(|packet| u8::try_from(packet.len()).unwrap_or(u8::MAX)));
    page.extend(packets.iter().flat_map(|packet| packet.iter().copied()));
    let sum = crc_plain(&page).to_le_bytes();
    for (slot, byte) in page.iter_mut().skip(CHECKSUM_AT).zip(sum) {
        *slot = byte;
    }
    page
}

/// One page with one line on it.
fn pdf(number: u64) -> Vec<u8> {
    let line = format!("BT /F1 24 Tf 60 700 Td (Offerte {number}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{line}\nendstream", line.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut text = "%PDF-1.4\n".to_owned();
    let mut places = String::new();
    for (position, object) in objects.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(places, "{:010} 00000 n ", text.len());
        let _ = writeln!(text, "{} 0 obj\n{object}\nendobj", position + 1);
    }
    let table = text.len();
    let count = objects.len() + 1;
    let _ = write!(text, "xref\n0 {count}\n0000000000 65535 f \n{places}");
    let _ = writeln!(text, "trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF");
    text.into_bytes()
}

/// One transparent point, lossless.
fn webp() -> Vec<u8> {
    let mut bytes = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00".to_vec();
    bytes.extend_from_slice(&[0x2f, 0, 0, 0, 0x10, 0x07, 0x10, 0x11, 0x11, 0x88, 0x88, 0xfe, 0x07, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_another_and_each_is_a_png() {
        let pictures: Vec<_> = (0..12).map(png).collect();
        let distinct: std::collections::BTreeSet<_> = pictures.iter().map(|bytes| sha256(bytes)).collect();
        assert_eq!(distinct.len(), 12);
        assert!(
            pictures.iter().all(|bytes| bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() < 100_000)
        );
    }

    #[test]
    fn the_checksums_are_those_of_their_formats() {
        assert_eq!(crc_reflected(b"IEND"), 0xAE42_6082);
        assert_eq!(crc_plain(b"123456789"), 0x89A1_897F);
    }

    #[test]
    fn what_cannot_be_made_is_not_made() {
        assert!(of("video", 1).is_none());
        for kind in ["image", "audio", "document", "sticker"] {
            assert!(of(kind, 1).is_some_and(|sample| !sample.bytes.is_empty()), "{kind}");
        }
    }
}
