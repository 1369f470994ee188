//! Files, places, people, and other people's messages.

use serde_json::{Value, json};

use super::super::account::now;
use super::super::media::Media;
use super::super::person::Person;
use super::super::sample;
use super::{Told, User, text_content};

/// Where a forwarded message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Somebody.
    User(Person),
    /// Somebody who does not let their account be linked.
    Hidden {
        /// As it is shown.
        name: String,
    },
    /// A post.
    Channel {
        /// The channel.
        id: i64,
        /// Of the channel.
        title: String,
        /// Of the post.
        message_id: i64,
    },
}

impl Origin {
    fn as_json(&self) -> Value {
        let date = now() - 3600;
        match self {
            Self::User(person) => {
                json!({"type": "user", "sender_user": person.as_user(), "date": date})
            }
            Self::Hidden { name } => {
                json!({"type": "hidden_user", "sender_user_name": name, "date": date})
            }
            Self::Channel {
                id,
                title,
                message_id,
            } => json!({
                "type": "channel",
                "chat": {"id": id, "title": title, "type": "channel"},
                "message_id": message_id,
                "date": date,
            }),
        }
    }
}

impl User {
    /// Sends a file, which the bot can download.
    pub fn sends_media(&self, media: Media) -> Told {
        self.in_chat(|account| {
            let content = media.store(account);
            self.message(account, content.into())
        })
    }

    /// Sends several files as one album: one message and one update each, with one `media_group_id`.
    pub fn sends_album(&self, items: impl IntoIterator<Item = Media>) -> Vec<Told> {
        let group = self.bot.with(|account| {
            account.albums_made += 1;
            format!("1390000000{:07}", account.albums_made)
        });
        let send = |media: Media| {
            self.in_chat(|account| {
                let mut content = media.store(account);
                content.insert("media_group_id".into(), json!(group));
                self.message(account, content.into())
            })
        };
        items.into_iter().map(send).collect()
    }

    /// Sends a photo in two sizes.
    pub fn sends_photo(&self, caption: Option<&str>) -> Told {
        let photo = Media::photo(sample::jpeg(1280, 960, 1));
        self.sends_media(match caption {
            Some(caption) => photo.caption(caption),
            None => photo,
        })
    }

    /// Sends a sticker.
    pub fn sends_sticker(&self) -> Told {
        self.sends_media(Media::sticker("😂", sample::webp(1)))
    }

    /// Throws a die.
    pub fn sends_dice(&self) -> Told {
        self.sends(json!({"dice": {"emoji": "🎲", "value": 4}}))
    }

    /// Sends a place.
    pub fn sends_location(&self, latitude: f64, longitude: f64) -> Told {
        self.sends(json!({"location": {"latitude": latitude, "longitude": longitude}}))
    }

    /// Begins to share where this person is, for `live_period` seconds.
    pub fn shares_location(&self, latitude: f64, longitude: f64, live_period: u32) -> Told {
        self.sends(json!({"location": {
            "latitude": latitude,
            "longitude": longitude,
            "horizontal_accuracy": 20.0,
            "live_period": live_period,
        }}))
    }

    /// Moves while sharing the place: an edit of that message.
    pub fn moves(&self, message_id: i64, latitude: f64, longitude: f64) -> Told {
        self.in_chat(|account| {
            let old = self.chat(account).message(message_id);
            let mut location = old.map_or_else(|| json!({}), |message| message["location"].clone());
            location["latitude"] = json!(latitude);
            location["longitude"] = json!(longitude);
            location["heading"] = json!(90);
            self.edit(account, message_id, json!({ "location": location }))
        })
    }

    /// Sends a place that has a name.
    pub fn sends_venue(&self, title: &str, address: &str, latitude: f64, longitude: f64) -> Told {
        let location = json!({"latitude": latitude, "longitude": longitude});
        self.sends(json!({
            "location": location,
            "venue": {"location": location, "title": title, "address": address},
        }))
    }

    /// Sends this person's own number.
    pub fn shares_contact(&self, phone_number: &str) -> Told {
        self.sends(json!({ "contact": self.own_contact(phone_number) }))
    }

    /// Sends somebody else from the address book.
    pub fn sends_contact(&self, first_name: &str, phone_number: &str) -> Told {
        self.sends(json!({"contact": {"phone_number": phone_number, "first_name": first_name}}))
    }

    /// Passes somebody's text on.
    pub fn forwards(&self, origin: &Origin, text: &str) -> Told {
        let mut content = text_content(text);
        content["forward_origin"] = origin.as_json();
        self.sends(content)
    }

    pub(super) fn own_contact(&self, phone_number: &str) -> Value {
        let mut contact = json!({
            "phone_number": phone_number,
            "first_name": self.person.first_name,
            "user_id": self.person.id,
        });
        if let Some(last_name) = &self.person.last_name {
            contact["last_name"] = json!(last_name);
        }
        contact
    }
}
