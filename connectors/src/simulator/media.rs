//! Files: uploaded by the business or sent by customers, kept in memory up to a limit, served from
//! addresses that are signed and end (`whatsapp` §12, `messenger` §5).

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use loket_backbone::{random, secret};
use loket_protocol::time::Timestamp;
use sha2::Sha256;

use super::phone::File;
use super::refusal::Refusal;
use super::sample::sha256;

/// All files together; the oldest go first.
pub(crate) const BYTES_MAX: usize = 256 * 1024 * 1024;
/// The largest file there is.
pub(crate) const FILE_BYTES_MAX: usize = 100 * 1024 * 1024;

const MB: usize = 1024 * 1024;

/// What the business may upload: MIME type, kind, bytes (`whatsapp` §12).
const UPLOADS: [(&str, &str, usize); 18] = [
    ("audio/aac", "audio", 16 * MB),
    ("audio/amr", "audio", 16 * MB),
    ("audio/mpeg", "audio", 16 * MB),
    ("audio/mp4", "audio", 16 * MB),
    ("audio/ogg", "audio", 16 * MB),
    ("text/plain", "document", 100 * MB),
    ("application/pdf", "document", 100 * MB),
    ("application/msword", "document", 100 * MB),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "document", 100 * MB),
    ("application/vnd.ms-excel", "document", 100 * MB),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "document", 100 * MB),
    ("application/vnd.ms-powerpoint", "document", 100 * MB),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "document", 100 * MB),
    ("image/jpeg", "image", 5 * MB),
    ("image/png", "image", 5 * MB),
    ("image/webp", "sticker", 500 * 1024),
    ("video/mp4", "video", 16 * MB),
    ("video/3gpp", "video", 16 * MB),
];

/// A file that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) mime: String,
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) bytes: Bytes,
    pub(crate) sha256: [u8; 32],
}

/// The files and the key that signs their addresses.
pub(crate) struct Media {
    files: HashMap<String, Stored>,
    order: VecDeque<String>,
    bytes: usize,
    bytes_max: usize,
    key: [u8; 32],
}

impl Media {
    /// Keeps files of so many bytes together.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { files: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max, key: random::bytes() }
    }

    /// Takes a file from the business, if it is one that the platform takes.
    pub(crate) fn upload(
        &mut self,
        mime: &str,
        name: Option<String>,
        bytes: Bytes,
    ) -> Result<String, Refusal> {
        let plain = mime.split(';').next().unwrap_or(mime).trim().to_lowercase();
        let known = UPLOADS.iter().find(|(known, _, _)| *known == plain);
        let Some((_, kind, most)) = known else {
            return Err(Refusal::new(
                100,
                format!("Param file must be a file with one of the supported types; got {plain}"),
            ));
        };
        if bytes.is_empty() || bytes.len() > *most {
            return Err(Refusal::new(131_053, "Media upload error")
                .details(format!("a file of this type has 1 to {most} bytes")));
        }
        Ok(self.keep(plain, (*kind).to_owned(), name, bytes))
    }

    /// Keeps a file and answers its id.
    pub(crate) fn keep(&mut self, mime: String, kind: String, name: Option<String>, bytes: Bytes) -> String {
        let mut number = u64::from_be_bytes(random::bytes()) % 9_000_000_000_000_000 + 1_000_000_000_000_000;
        while self.files.contains_key(&number.to_string()) {
            number += 1;
        }
        let id = number.to_string();
        self.bytes += bytes.len();
        let sha256 = sha256(&bytes);
        self.files.insert(id.clone(), Stored { mime, kind, name, bytes, sha256 });
        self.order.push_back(id.clone());
        while self.bytes > self.bytes_max && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(&oldest);
        }
        id
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Stored> {
        self.files.get(id)
    }

    /// The same as a file of a message.
    pub(crate) fn file(&self, id: &str) -> Option<File> {
        self.get(id).map(|stored| File {
            kind: stored.kind.clone(),
            media_id: Some(id.to_owned()),
            link: None,
            mime: Some(stored.mime.clone()),
            name: stored.name.clone(),
        })
    }

    /// Forgets a file; false when there was none.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let Some(stored) = self.files.remove(id) else { return false };
        self.bytes = self.bytes.saturating_sub(stored.bytes.len());
        self.order.retain(|known| known != id);
        true
    }

    /// The mark in an address that ends at `until_s`.
    pub(crate) fn mark(&self, id: &str, until_s: i64) -> String {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        let sum = mac.chain_update(format!("{id}:{until_s}")).finalize().into_bytes();
        hex(&sum).chars().take(32).collect()
    }

    /// Is the address still good?
    pub(crate) fn is_valid(&self, id: &str, until_s: i64, mark: &str, now: Timestamp) -> bool {
        now.as_millis() < until_s.saturating_mul(1000)
            && secret::same(self.mark(id, until_s).as_bytes(), mark.as_bytes())
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_has_a_known_type_and_a_size_within_its_limit() {
        let mut media = Media::new(BYTES_MAX);
        let id = media.upload("image/png", None, Bytes::from_static(b"x")).unwrap();
        assert_eq!(media.file(&id).unwrap().kind, "image");
        assert!(media.upload("audio/ogg; codecs=opus", None, Bytes::from_static(b"x")).is_ok());
        assert_eq!(media.upload("image/gif", None, Bytes::from_static(b"x")).unwrap_err().code, 100);
        let large = Bytes::from(vec![0; 5 * MB + 1]);
        assert_eq!(media.upload("image/jpeg", None, large).unwrap_err().code, 131_053);
        assert!(media.remove(&id));
        assert!(!media.remove(&id));
    }

    #[test]
    fn an_address_ends_and_cannot_be_made_up() {
        let mut media = Media::new(BYTES_MAX);
        let id = media.keep("image/png".into(), "image".into(), None, Bytes::from_static(b"x"));
        let mark = media.mark(&id, 1_000);
        let before = Timestamp::from_millis(999_999);
        assert!(media.is_valid(&id, 1_000, &mark, before));
        assert!(!media.is_valid(&id, 1_000, &mark, Timestamp::from_millis(1_000_000)));
        assert!(!media.is_valid(&id, 1_001, &mark, before));
        assert!(!media.is_valid(&id, 1_000, "0", before));
    }

    #[test]
    fn the_oldest_files_go_when_the_memory_is_full() {
        let mut media = Media::new(250);
        let block = Bytes::from(vec![0; 90]);
        let ids: Vec<_> =
            (0..4).map(|_| media.keep("x".into(), "document".into(), None, block.clone())).collect();
        assert!(media.get(&ids[0]).is_none() && media.get(&ids[1]).is_none());
        assert!(media.get(&ids[2]).is_some() && media.get(&ids[3]).is_some());
    }
}
