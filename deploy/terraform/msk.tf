resource "aws_security_group" "msk" {
  count       = var.msk_cluster_arn == null ? 1 : 0
  name        = "${local.name}-msk"
  description = "Brokers of ${local.name}"
  vpc_id      = var.vpc_id
}

resource "aws_msk_serverless_cluster" "this" {
  count        = var.msk_cluster_arn == null ? 1 : 0
  cluster_name = local.name

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.msk[0].id]
  }

  client_authentication {
    sasl {
      iam {
        enabled = true
      }
    }
  }
}

locals {
  cluster_arn           = coalesce(var.msk_cluster_arn, one(aws_msk_serverless_cluster.this[*].arn))
  cluster_name          = split("/", local.cluster_arn)[1]
  msk_security_group_id = coalesce(var.msk_security_group_id, one(aws_security_group.msk[*].id))

  # arn:aws:kafka:REGION:ACCOUNT:topic/CLUSTER/UUID, to which a name is added; groups and transactions likewise.
  topic_arn       = replace(local.cluster_arn, ":cluster/", ":topic/")
  group_arn       = replace(local.cluster_arn, ":cluster/", ":group/")
  transaction_arn = replace(local.cluster_arn, ":cluster/", ":transactional-id/")
}

data "aws_msk_bootstrap_brokers" "this" {
  cluster_arn = local.cluster_arn
}

resource "aws_security_group" "task" {
  name        = "${local.name}-task"
  description = "Workers, monitor and jobs of ${local.name}"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "task_to_brokers" {
  security_group_id            = aws_security_group.task.id
  referenced_security_group_id = local.msk_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 9098
  to_port                      = 9098
}

resource "aws_vpc_security_group_egress_rule" "task_to_https" {
  description       = "S3, ECR, CloudWatch Logs, STS and the Schema Registry"
  security_group_id = aws_security_group.task.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "brokers_from_task" {
  security_group_id            = local.msk_security_group_id
  referenced_security_group_id = aws_security_group.task.id
  ip_protocol                  = "tcp"
  from_port                    = 9098
  to_port                      = 9098
}
