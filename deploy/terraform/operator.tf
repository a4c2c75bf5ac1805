# Who is on call reads all topics and the store, and writes nothing: for people, to be attached to the role that they assume.

locals {
  operator = {
    read   = concat([var.input_topic, "${local.topics.dead_letters}.redriven"], values(local.topics))
    groups = [var.group]
  }
}

data "aws_iam_policy_document" "operator" {
  source_policy_documents = [data.aws_iam_policy_document.read_store.json]

  statement {
    sid       = "Cluster"
    actions   = ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"]
    resources = [local.cluster_arn]
  }

  statement {
    sid       = "Read"
    actions   = [for action in local.kafka_actions.read : "kafka-cluster:${action}"]
    resources = [for name in local.operator.read : "${local.topic_arn}/${name}"]
  }

  # Who could alter the group of the workers could move its offsets.
  statement {
    sid       = "Groups"
    actions   = ["kafka-cluster:DescribeGroup"]
    resources = [for name in local.operator.groups : "${local.group_arn}/${name}"]
  }
}

resource "aws_iam_policy" "operator" {
  name   = "${local.name}-operator"
  policy = data.aws_iam_policy_document.operator.json
}

output "operator_policy_arn" {
  description = "To be attached to the role of those who are on call."
  value       = aws_iam_policy.operator.arn
}
