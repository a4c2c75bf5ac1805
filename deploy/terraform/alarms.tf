resource "aws_kms_key" "alarms" {
  description         = "Alarms of ${local.name}"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.alarms_key.json
}

data "aws_iam_policy_document" "alarms_key" {
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root"]
    }
  }

  # Without it what CloudWatch and EventBridge publish never arrives, and nobody is told.
  statement {
    sid       = "Publishers"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    }
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = aws_kms_key.alarms.arn
}

data "aws_iam_policy_document" "alarms" {
  statement {
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }

  # EventBridge tells SNS nothing that a condition could be about: with one, nothing that it sends would arrive.
  statement {
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.alarm_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

# Lines of our logs that somebody must see; the text is what fraudstream logs as `event`.
locals {
  told = {
    halted               = "Nearly all records are bad: a worker keeps its place"
    partition_stopped    = "The next offset of a partition is not in the topic: it stands still"
    rollout_held_back    = "The rollout in force cannot serve; the one before it still does"
    model_missing        = "A variant has no model: the control decides its cards"
    record_quarantined   = "A record crashed a worker: it is a dead letter now"
    retraining_requested = "The monitor found critical drift"
  }

  pattern = { for event, _ in local.told : event => "{ $.event = \"${event}\" }" }
}

resource "aws_cloudwatch_log_metric_filter" "told" {
  for_each       = local.told
  name           = each.key
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = local.pattern[each.key]

  metric_transformation {
    name      = each.key
    namespace = local.name
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "told" {
  for_each            = local.told
  alarm_name          = "${local.name}-${replace(each.key, "_", "-")}"
  alarm_description   = each.value
  namespace           = local.name
  metric_name         = aws_cloudwatch_log_metric_filter.told[each.key].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# What the workers tell of themselves (docs/monitoring.md, CloudWatch), over all slots; the thresholds are those of the
# alerts for Prometheus.
locals {
  figures = {
    slow = {
      description = "More than 1 % of the decisions take longer than 0.5 s"
      metric      = "fraudstream_broker_latency_seconds"
      statistic   = null
      percentile  = "p99"
      threshold   = 0.5
    }
    degraded = {
      description = "The control decides in the place of a model that is missing"
      metric      = "fraudstream_degraded_share"
      statistic   = "Maximum"
      percentile  = null
      threshold   = 0
    }
    fenced = {
      # An outage may cost each slot three: both producers and the membership.
      description = "Two processes run as one slot: each cuts the other off"
      metric      = "fraudstream_producer_fences_total"
      statistic   = "Sum"
      percentile  = null
      threshold   = 3 * var.workers
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "figure" {
  for_each            = local.figures
  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "fraudstream"
  metric_name         = each.value.metric
  dimensions          = { group = local.transactional_prefix }
  statistic           = each.value.statistic
  extended_statistic  = each.value.percentile
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  # Workers that tell nothing do not run, and there is an alarm for that.
  treat_missing_data = "notBreaching"
  alarm_actions      = [aws_sns_topic.alarms.arn]
  ok_actions         = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "lag" {
  alarm_name          = "${local.name}-lag"
  alarm_description   = "The workers do not keep up"
  namespace           = "AWS/Kafka"
  metric_name         = "EstimatedMaxTimeLag"
  dimensions          = { "Cluster Name" = local.cluster_name, "Consumer Group" = var.group, "Topic" = var.input_topic }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.most_lag_seconds
  # MSK tells no lag of a group that has stopped committing: that is no good news.
  treat_missing_data = "breaching"
  alarm_actions      = [aws_sns_topic.alarms.arn]
  ok_actions         = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "stopped" {
  for_each            = local.services
  alarm_name          = "${local.name}-${each.key}-stopped"
  alarm_description   = "${each.key} does not run"
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = { ClusterName = aws_ecs_cluster.this.name, ServiceName = aws_ecs_service.this[each.key].name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "not_started" {
  alarm_name          = "${local.name}-job-not-started"
  alarm_description   = "The scheduler could not start a job"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.not_started.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# What the handler raises is a 500 here; that it has no model it answers itself, with 503, which is no error to Lambda.
resource "aws_cloudwatch_metric_alarm" "api_errors" {
  for_each            = local.api
  alarm_name          = "${local.name}-api-errors"
  alarm_description   = "POST /predict fails"
  namespace           = "AWS/ApiGateway"
  metric_name         = "5xx"
  dimensions          = { ApiId = aws_apigatewayv2_api.this[each.key].id }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.name

  dashboard_body = jsonencode({
    widgets = [
      {
        type = "metric", x = 0, y = 0, width = 12, height = 6
        properties = {
          title  = "Behind, seconds"
          region = var.region
          stat   = "Maximum"
          period = 60
          metrics = [
            ["AWS/Kafka", "EstimatedMaxTimeLag", "Cluster Name", local.cluster_name, "Consumer Group", var.group, "Topic", var.input_topic],
          ]
        }
      },
      {
        type = "metric", x = 12, y = 0, width = 12, height = 6
        properties = {
          title   = "CPU of each slot, units"
          region  = var.region
          stat    = "Average"
          period  = 60
          metrics = [for name, _ in local.services : ["ECS/ContainerInsights", "CpuUtilized", "ClusterName", local.name, "ServiceName", name]]
        }
      },
      {
        type = "metric", x = 0, y = 6, width = 12, height = 6
        properties = {
          title   = "Memory of each slot, MiB"
          region  = var.region
          stat    = "Maximum"
          period  = 60
          metrics = [for name, _ in local.services : ["ECS/ContainerInsights", "MemoryUtilized", "ClusterName", local.name, "ServiceName", name]]
        }
      },
      {
        type = "metric", x = 12, y = 6, width = 12, height = 6
        properties = {
          title   = "What was told"
          region  = var.region
          stat    = "Sum"
          period  = 300
          metrics = [for event, _ in local.told : [local.name, event]]
        }
      },
      {
        type = "metric", x = 0, y = 12, width = 12, height = 6
        properties = {
          title  = "Latency from the broker, seconds"
          region = var.region
          period = 60
          metrics = [for percentile in ["p50", "p99", "p99.9"] :
            ["fraudstream", "fraudstream_broker_latency_seconds", "group", local.transactional_prefix, { stat = percentile, label = percentile }]
          ]
        }
      },
      {
        type = "metric", x = 12, y = 12, width = 12, height = 6
        properties = {
          title  = "Records, dead letters, degraded decisions"
          region = var.region
          stat   = "Sum"
          period = 60
          metrics = [for name in ["records", "dead_letters", "degraded_decisions"] :
            ["fraudstream", "fraudstream_${name}_total", "group", local.transactional_prefix, { label = name }]
          ]
        }
      },
      {
        type = "log", x = 0, y = 18, width = 24, height = 6
        properties = {
          title  = "Warnings and errors"
          region = var.region
          query  = "SOURCE '${aws_cloudwatch_log_group.this.name}' | fields @timestamp, event, slot, reason | filter level in ['warning', 'error'] | sort @timestamp desc | limit 50"
        }
      },
    ]
  })
}
