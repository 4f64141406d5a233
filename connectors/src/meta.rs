//! What WhatsApp and Messenger share: signature, handshake, Graph client, error answers.
