data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  name = "fraudstream-${var.environment}"

  # Names of topics, groups and transactional ids are those of consumer/settings.py.
  topics = {
    decisions    = "fraud.decisions"
    dead_letters = "fraud.dead-letters"
    samples      = "fraud.feature-samples"
    drift        = "fraud.drift"
    retrain      = "fraud.retrain-requests"
    labels       = "fraud.labels"
  }
  transactional_prefix = "fraudstream.${var.environment}.${var.group}"

  settings = merge(
    {
      FRAUDSTREAM_ENVIRONMENT       = var.environment
      FRAUDSTREAM_GROUP             = var.group
      FRAUDSTREAM_INPUT_TOPIC       = var.input_topic
      FRAUDSTREAM_BOOTSTRAP_SERVERS = data.aws_msk_bootstrap_brokers.this.bootstrap_brokers_sasl_iam
      FRAUDSTREAM_MSK_IAM_REGION    = var.region
      FRAUDSTREAM_STORE             = "s3://${aws_s3_bucket.registry.bucket}/${var.store_prefix}"
      FRAUDSTREAM_STOP_SECONDS      = "90"
      AWS_DEFAULT_REGION            = var.region
    },
    var.schema_registry_url == null ? {} : { FRAUDSTREAM_SCHEMA_REGISTRY_URL = var.schema_registry_url },
  )
}
