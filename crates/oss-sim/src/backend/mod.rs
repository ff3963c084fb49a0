//! The S3 operations on top of the store.

mod conditions;
mod convert;
mod errors;
mod lists;
mod objects;
mod upload;
mod uploads;

use std::sync::Arc;

#[allow(clippy::wildcard_imports, reason = "the input and the output of every operation")]
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::access::Keys;
use crate::store::Store;

/// The one owner of everything in this server.
const OWNER: &str = "mountlab";

/// Answers S3 requests whose signature and access rights have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) store: Arc<Store>,
    pub(crate) keys: Keys,
}

/// The headers that the client says will come after the body.
fn trailer_names<T>(request: &S3Request<T>) -> String {
    let value = request.headers.get("x-amz-trailer");
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn answer<T>(output: T) -> S3Response<T> {
    S3Response::new(output)
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = request.input.prefix.unwrap_or_default();
        let state = self.store.lock();
        let buckets = state.buckets().iter().filter(|(name, _)| name.starts_with(&prefix));
        let buckets = buckets
            .map(|(name, bucket)| Bucket {
                name: Some(name.clone()),
                creation_date: Some(convert::timestamp(bucket.created)),
                ..Default::default()
            })
            .collect();
        let owner = Owner { id: Some(OWNER.into()), display_name: Some(OWNER.into()) };
        Ok(answer(ListBucketsOutput { buckets: Some(buckets), owner: Some(owner), ..Default::default() }))
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store.create_bucket(&request.input.bucket)?;
        Ok(answer(CreateBucketOutput { location: Some(format!("/{}", request.input.bucket)) }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.lock().bucket(&request.input.bucket)?;
        Ok(answer(HeadBucketOutput::default()))
    }

    async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.store.delete_bucket(&request.input.bucket)?;
        Ok(answer(DeleteBucketOutput {}))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store.lock().bucket(&request.input.bucket)?;
        Ok(answer(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.store.lock().bucket(&request.input.bucket)?;
        Ok(answer(GetBucketVersioningOutput::default()))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        Ok(answer(self.list_v1(request.input)?))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        Ok(answer(self.list_v2(request.input)?))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        Ok(answer(self.put(request).await?))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        Ok(answer(self.get(request.input)?))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        Ok(answer(self.head(request.input)?))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        Ok(answer(self.copy(request)?))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.delete(&request.input)?;
        Ok(answer(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        Ok(answer(self.delete_many(request.input)?))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        Ok(answer(self.create_upload(request.input)?))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        Ok(answer(self.put_part(request).await?))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        Ok(answer(self.copy_part(request).await?))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        Ok(answer(self.complete_upload(request.input)?))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort_upload(&request.input)?;
        Ok(answer(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        Ok(answer(Backend::list_parts(self, request.input)?))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        Ok(answer(self.list_uploads(request.input)?))
    }
}
