//! Sealing: what is kept but must not be readable in a copied file (raw callbacks, parked items,
//! answers of idempotent writes) is encrypted with the master key (`security` S2).

use std::fmt;

use base64::Engine as _;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use loket_backbone::random;
use sha2::{Digest as _, Sha256};

use crate::error::HubError;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a key id, in front of everything sealed.
const ID_BYTES: usize = 8;
/// Bytes of a nonce, drawn at random: 192 bits, so that one never comes twice.
const NONCE_BYTES: usize = 24;

/// The key that seals what is kept. It prints nothing.
#[derive(Clone)]
pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    id: [u8; ID_BYTES],
}

/// What was sealed cannot be opened: another key, or damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with another key.
    #[error("it was sealed with another master key")]
    OtherKey,
    /// It was changed or cut since it was sealed.
    #[error("it is damaged")]
    Damaged,
}

impl MasterKey {
    /// The key of a file's contents: 32 raw bytes, or the base64 of 32 bytes with or without a line
    /// end. Anything else is refused, an empty or a constant key too.
    pub fn from_file_contents(contents: &[u8]) -> Result<Self, HubError> {
        let refused = || {
            HubError::invalid(
                "secrets.master_key_file",
                "the file must hold 32 random bytes, raw or in base64: make one with \
                 `head -c 32 /dev/urandom | base64`",
            )
        };
        let decoded = if contents.len() == KEY_BYTES {
            contents.to_vec()
        } else {
            let text = std::str::from_utf8(contents).map_err(|_| refused())?;
            base64::engine::general_purpose::STANDARD.decode(text.trim()).map_err(|_| refused())?
        };
        let key: [u8; KEY_BYTES] = decoded.try_into().map_err(|_| refused())?;
        if key.iter().all(|byte| Some(byte) == key.first()) {
            return Err(refused());
        }
        Ok(Self::from_bytes(&key))
    }

    /// The key of these bytes.
    pub fn from_bytes(key: &[u8; KEY_BYTES]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"loket master key id");
        hash.update(key);
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self { cipher: XChaCha20Poly1305::new(key.into()), id }
    }

    /// A new random key, as base64 for a file.
    pub fn generate() -> String {
        base64::engine::general_purpose::STANDARD.encode(random::bytes::<KEY_BYTES>())
    }

    /// Names the key without telling it: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        use std::fmt::Write as _;
        self.id.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Seals `plain` for `place`, which must be named again to open it, so that a row's bytes are of
    /// no use in another row. The key id stands in front.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = random::bytes::<NONCE_BYTES>();
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        // Sealing to memory fails only beyond 256 GiB, which no limit of ours lets through.
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [self.id.as_slice(), nonce.as_slice(), sealed.as_slice()].concat()
    }

    /// Opens what [`Self::seal`] made for the same `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (id, rest) = sealed.split_at_checked(ID_BYTES).ok_or(SealError::Damaged)?;
        if id != self.id {
            return Err(SealError::OtherKey);
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::Damaged)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SealError::Damaged)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        self.cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Damaged)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_place_only() {
        let key = MasterKey::from_file_contents(MasterKey::generate().as_bytes()).unwrap();
        let sealed = key.seal("parked:1", b"words");
        assert!(!sealed.windows(5).any(|part| part == b"words"));
        assert_eq!(key.open("parked:1", &sealed).unwrap(), b"words");
        assert_eq!(key.open("parked:2", &sealed), Err(SealError::Damaged));
        let other = MasterKey::from_bytes(&[7; 32]);
        assert_eq!(other.open("parked:1", &sealed), Err(SealError::OtherKey));
        for position in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[position] ^= 1;
            assert!(key.open("parked:1", &bent).is_err(), "{position}");
            assert!(key.open("parked:1", &sealed[..position]).is_err(), "{position}");
        }
    }

    #[test]
    fn two_seals_of_the_same_differ() {
        let key = MasterKey::from_bytes(&[9; 32]);
        assert_ne!(key.seal("a", b"x"), key.seal("a", b"x"));
    }

    #[test]
    fn a_key_file_is_raw_or_base64_and_nothing_else() {
        let text = MasterKey::generate();
        let one = MasterKey::from_file_contents(text.as_bytes()).unwrap();
        let two = MasterKey::from_file_contents(format!("{text}\n").as_bytes()).unwrap();
        assert_eq!(one.id(), two.id());
        let mut raw = [1; 32];
        raw[3] = 9;
        assert!(MasterKey::from_file_contents(&raw).is_ok());
        let zeros = base64::engine::general_purpose::STANDARD.encode([0; 32]);
        for bad in ["", "\n", "short", &"A".repeat(100), &zeros] {
            assert!(MasterKey::from_file_contents(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
