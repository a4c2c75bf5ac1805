# Who is on call reads all topics and the store, and writes nothing: for people, to be attached to the role that they assume.

locals {
  # Who could alter the group of the workers could move its offsets.
  operator = {
    read         = concat([var.input_topic, "${local.topics.dead_letters}.redriven"], values(local.topics))
    write        = []
    describe     = []
    create       = []
    groups       = []
    watch        = [var.group]
    transactions = []
  }
}

data "aws_iam_policy_document" "operator" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_store.json,
    data.aws_iam_policy_document.kafka["operator"].json,
  ]
}

resource "aws_iam_policy" "operator" {
  name   = "${local.name}-operator"
  policy = data.aws_iam_policy_document.operator.json
}

output "operator_policy_arn" {
  description = "To be attached to the role of those who are on call."
  value       = aws_iam_policy.operator.arn
}
