output "bootstrap_servers" {
  value = data.aws_msk_bootstrap_brokers.this.bootstrap_brokers_sasl_iam
}

output "store" {
  value = local.settings.FRAUDSTREAM_STORE
}

output "rollout_policy_arn" {
  description = "To be attached to the role of those who promote and roll back."
  value       = aws_iam_policy.rollout.arn
}

output "create_topics" {
  description = "Run once before the first worker."
  value = join(" ", [
    "aws ecs run-task --cluster ${aws_ecs_cluster.this.name} --launch-type FARGATE",
    "--task-definition ${aws_ecs_task_definition.once["topics"].family}",
    "--network-configuration 'awsvpcConfiguration={subnets=[${join(",", var.subnet_ids)}],securityGroups=[${aws_security_group.task.id}]}'",
  ])
}

output "predict_url" {
  value = one([for api in aws_apigatewayv2_api.this : "${api.api_endpoint}/predict"])
}

output "alarms_topic_arn" {
  value = aws_sns_topic.alarms.arn
}
