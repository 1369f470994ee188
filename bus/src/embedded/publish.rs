//! Publishing: a batch goes to the writer in parts, so that a huge one does not keep everybody else waiting.

use super::{
    core::Link,
    writer::{Op, Outgoing, Reply},
};
use crate::{Publication, PublishError};

/// Publications of one batch that are written at once, all or none.
const PART: usize = 1_000;

/// Publishes in order; after a part that failed nothing later is tried.
pub(super) async fn publish(link: &Link, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
    let count = batch.len();
    let mut results = Vec::with_capacity(count);
    let mut rest = batch.into_iter();
    loop {
        let part: Vec<Publication> = rest.by_ref().take(PART).collect();
        if part.is_empty() {
            return results;
        }
        let size = part.len();
        match publish_part(link, part).await {
            Ok(missing) => results.extend(missing.into_iter().map(|lane| match lane {
                Some(lane) => Err(PublishError::NoLane(lane)),
                None => Ok(()),
            })),
            Err(error) => {
                results.extend(vec![Err(error); size]);
                let reason = "an earlier publication of the batch failed".to_owned();
                results.resize(count, Err(PublishError::NotPublished(reason)));
                return results;
            }
        }
    }
}

/// Answers for each the lane that is missing, if one is.
async fn publish_part(
    link: &Link,
    part: Vec<Publication>,
) -> Result<Vec<Option<String>>, PublishError> {
    let messages = part.into_iter().map(outgoing).collect();
    match link.write(Op::Publish(messages)).await? {
        Reply::Published(missing) => Ok(missing),
        Reply::Done | Reply::Replayed(_) => Err(PublishError::Unknown(
            "the writer gave another answer".to_owned(),
        )),
    }
}

fn outgoing(publication: Publication) -> Outgoing {
    let Publication { to, envelope } = publication;
    Outgoing {
        body: envelope.body,
        to,
        organization: envelope.orgid,
        kind: envelope.kind,
    }
}
