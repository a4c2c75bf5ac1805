variable "region" {
  type = string
}

variable "environment" {
  description = "Second part of every name and of every transactional id: dev, prod, ..."
  type        = string
  default     = "prod"
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  description = "Private subnets in at least two zones, with a way to S3, ECR and CloudWatch Logs (endpoints or NAT)."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "MSK needs subnets in at least two zones."
  }
}

variable "msk_cluster_arn" {
  description = "A cluster that exists, with IAM authentication; a serverless one is made if unset."
  type        = string
  default     = null
}

variable "msk_security_group_id" {
  description = "Where that cluster lets clients in; set together with msk_cluster_arn."
  type        = string
  default     = null
}

variable "schema_registry_url" {
  description = "Schema Registry; pinned schemas if unset."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^https://[^/:]+(:443)?(/|$)", coalesce(var.schema_registry_url, "https://none")))
    error_message = "https at port 443: tasks are let out to brokers and to nothing else."
  }
}

variable "image" {
  description = "The image of the Dockerfile, by digest: ACCOUNT.dkr.ecr.REGION.amazonaws.com/fraudstream@sha256:..."
  type        = string
}

variable "workers" {
  description = "Worker processes, one slot each; never more than the input has partitions."
  type        = number
  default     = 2

  validation {
    condition     = var.workers >= 1 && floor(var.workers) == var.workers && var.workers <= var.partitions
    error_message = "From 1 up to the number of partitions: more workers would only stand by."
  }
}

variable "partitions" {
  description = "Partitions of the input topic."
  type        = number
  default     = 6
}

variable "worker_cpu" {
  description = "CPU units of a worker; 1024 are one core."
  type        = number
  default     = 1024
}

variable "worker_memory" {
  description = "MiB of a worker."
  type        = number
  default     = 2048
}

variable "input_topic" {
  type    = string
  default = "transactions"
}

variable "group" {
  type    = string
  default = "fraudstream"
}

variable "store_prefix" {
  description = "Where in the bucket models and rollout are."
  type        = string
  default     = "fraud"
}

variable "data_bucket_arn" {
  description = "Where the data sets of the scheduled jobs are, read only; none if unset."
  type        = string
  default     = null
}

variable "data_key_arn" {
  description = "The KMS key of that bucket, if it has one."
  type        = string
  default     = null
}

variable "sagemaker_endpoints" {
  description = "Names of the endpoints that workers may call; none if empty."
  type        = list(string)
  default     = []
}

variable "lambda_image" {
  description = "The image of deploy/predict/Dockerfile, by digest; no API if unset."
  type        = string
  default     = null
}

variable "jobs" {
  description = "What runs by the clock (UTC), each a command of the image, such as `drift check`, a retraining and an `audit`."
  type = map(object({
    schedule = string
    command  = list(string)
  }))
  default = {}
}

variable "alarm_emails" {
  description = "Who is told of alarms. Each must confirm the mail from Amazon SNS."
  type        = list(string)
  default     = []
}

variable "most_lag_seconds" {
  description = "So far behind the stream may be for five minutes."
  type        = number
  default     = 60
}

variable "log_retention_days" {
  type    = number
  default = 90
}
