//! The types of content that can be sent. The record itself is [`crate::message::Content`]; which of
//! these a channel takes is told by its [`crate::channel::Capabilities`].

/// Every type that can be sent by some channel.
pub const SENDABLE: &[&str] = &[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "buttons",
    "list",
    "cta_url",
    "quick_replies",
    "template",
    "reaction",
    "location_request",
    "contact_request",
];

/// Those that are a file: they come with an attachment, and with a caption at most.
pub const MEDIA: &[&str] = &["image", "video", "audio", "document", "sticker"];

/// Whether a type is one of [`MEDIA`].
pub fn is_media(kind: &str) -> bool {
    MEDIA.contains(&kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_type_stands_once_and_files_are_among_them() {
        let all: BTreeSet<_> = SENDABLE.iter().collect();
        assert_eq!(all.len(), SENDABLE.len());
        assert!(MEDIA.iter().all(|kind| all.contains(kind) && is_media(kind)));
        assert!(!is_media("text"));
    }
}
