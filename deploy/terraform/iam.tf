# One role for each thing that runs, with what docs/security.md says it takes and no more.

data "aws_iam_policy_document" "tasks_assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

# Who may do what on Kafka. Each list is of names; the ARNs are made of them below.
locals {
  kafka = {
    worker = {
      read         = [var.input_topic]
      write        = [local.topics.decisions, local.topics.dead_letters, local.topics.samples]
      describe     = []
      create       = []
      groups       = [var.group]
      watch        = []
      transactions = ["${local.transactional_prefix}.*"]
    }
    monitor = {
      read         = [local.topics.samples]
      write        = [local.topics.drift, local.topics.retrain]
      describe     = [var.input_topic]
      create       = []
      groups       = ["${var.group}.drift"]
      watch        = []
      transactions = ["${local.transactional_prefix}.drift.*"]
    }
    # Retraining takes requests, transactions and labels; an audit what was decided, and how far the workers have got.
    job = {
      read = [
        var.input_topic, local.topics.decisions, local.topics.dead_letters, local.topics.labels, local.topics.retrain,
      ]
      write        = []
      describe     = []
      create       = []
      groups       = ["${var.group}.retrain"]
      watch        = [var.group]
      transactions = []
    }
    topics = {
      read         = []
      write        = []
      describe     = []
      create       = concat([var.input_topic], values(local.topics))
      groups       = []
      watch        = []
      transactions = []
    }
  }

  kafka_actions = {
    read         = ["DescribeTopic", "ReadData"]
    write        = ["DescribeTopic", "DescribeTopicDynamicConfiguration", "WriteData"]
    describe     = ["DescribeTopic"]
    create       = ["CreateTopic", "DescribeTopic"]
    groups       = ["DescribeGroup", "AlterGroup"]
    watch        = ["DescribeGroup"]
    transactions = ["DescribeTransactionalId", "AlterTransactionalId"]
  }

  kafka_arn = {
    read         = local.topic_arn
    write        = local.topic_arn
    describe     = local.topic_arn
    create       = local.topic_arn
    groups       = local.group_arn
    watch        = local.group_arn
    transactions = local.transaction_arn
  }
}

data "aws_iam_policy_document" "kafka" {
  for_each = merge(local.kafka, { operator = local.operator })

  statement {
    sid       = "Cluster"
    actions   = ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"]
    resources = [local.cluster_arn]
  }

  # Transactions and idempotent producers ask for this one on the cluster.
  dynamic "statement" {
    for_each = length(each.value.transactions) > 0 ? ["Idempotent"] : []

    content {
      sid       = statement.value
      actions   = ["kafka-cluster:WriteDataIdempotently"]
      resources = [local.cluster_arn]
    }
  }

  dynamic "statement" {
    for_each = { for kind, names in each.value : kind => names if length(names) > 0 }

    content {
      sid       = title(statement.key)
      actions   = [for action in local.kafka_actions[statement.key] : "kafka-cluster:${action}"]
      resources = [for name in statement.value : "${local.kafka_arn[statement.key]}/${name}"]
    }
  }
}

data "aws_iam_policy_document" "read_store" {
  statement {
    sid       = "Objects"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.registry.arn}/${var.store_prefix}/*"]
  }

  # Without it S3 says 403 of what is not there, too.
  statement {
    sid       = "Names"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.registry.arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${var.store_prefix}/*"]
    }
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.registry.arn]
  }
}

# A job trains, publishes, and enters what it made into the rollout as a shadow.
data "aws_iam_policy_document" "job" {
  source_policy_documents = [data.aws_iam_policy_document.read_store.json]

  statement {
    sid     = "Publish"
    actions = ["s3:PutObject"]
    resources = [
      "${aws_s3_bucket.registry.arn}/${var.store_prefix}/models/*",
      "${aws_s3_bucket.registry.arn}/${var.store_prefix}/rollout/*",
    ]
  }

  statement {
    sid       = "Encrypt"
    actions   = ["kms:GenerateDataKey"]
    resources = [aws_kms_key.registry.arn]
  }

  dynamic "statement" {
    for_each = var.data_bucket_arn == null ? [] : [var.data_bucket_arn]

    content {
      sid       = "Data"
      actions   = ["s3:GetObject", "s3:ListBucket"]
      resources = [statement.value, "${statement.value}/*"]
    }
  }

  dynamic "statement" {
    for_each = var.data_key_arn == null ? [] : [var.data_key_arn]

    content {
      sid       = "DataKey"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
    }
  }
}

# Variants and shadows of a rollout may be at SageMaker endpoints. In ARNs their names are in lower case.
locals {
  endpoint_arns = [
    for name in var.sagemaker_endpoints :
    "arn:${data.aws_partition.this.partition}:sagemaker:${var.region}:${data.aws_caller_identity.this.account_id}:endpoint/${lower(name)}"
  ]
}

data "aws_iam_policy_document" "endpoints" {
  statement {
    sid       = "Invoke"
    actions   = ["sagemaker:InvokeEndpoint"]
    resources = local.endpoint_arns
  }
}

# Promoting and rolling back: for people, to be attached to the role that they assume.
data "aws_iam_policy_document" "rollout" {
  source_policy_documents = [data.aws_iam_policy_document.read_store.json]

  statement {
    sid       = "Rollout"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.registry.arn}/${var.store_prefix}/rollout/*"]
  }

  statement {
    sid       = "Encrypt"
    actions   = ["kms:GenerateDataKey"]
    resources = [aws_kms_key.registry.arn]
  }
}

resource "aws_iam_policy" "rollout" {
  name   = "${local.name}-rollout"
  policy = data.aws_iam_policy_document.rollout.json
}

resource "aws_iam_role" "task" {
  for_each           = local.kafka
  name               = "${local.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.tasks_assume.json
}

resource "aws_iam_role_policy" "kafka" {
  for_each = local.kafka
  name     = "kafka"
  role     = aws_iam_role.task[each.key].id
  policy   = data.aws_iam_policy_document.kafka[each.key].json
}

resource "aws_iam_role_policy" "read_store" {
  for_each = toset(["worker", "monitor"])
  name     = "store"
  role     = aws_iam_role.task[each.key].id
  policy   = data.aws_iam_policy_document.read_store.json
}

resource "aws_iam_role_policy" "endpoints" {
  count  = length(var.sagemaker_endpoints) > 0 ? 1 : 0
  name   = "endpoints"
  role   = aws_iam_role.task["worker"].id
  policy = data.aws_iam_policy_document.endpoints.json
}

resource "aws_iam_role_policy" "job" {
  name   = "store"
  role   = aws_iam_role.task["job"].id
  policy = data.aws_iam_policy_document.job.json
}

# What ECS itself needs to start a task: the image and a place for its log.
resource "aws_iam_role" "start" {
  name               = "${local.name}-start"
  assume_role_policy = data.aws_iam_policy_document.tasks_assume.json
}

resource "aws_iam_role_policy_attachment" "start" {
  role       = aws_iam_role.start.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}
