# POST /predict for callers without Kafka; made where lambda_image is given.
locals {
  api = toset(var.lambda_image == null ? [] : ["predict"])
}

data "aws_iam_policy_document" "lambda_assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "lambda" {
  for_each           = local.api
  name               = "${local.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.lambda_assume.json
}

resource "aws_iam_role_policy" "lambda_store" {
  for_each = local.api
  name     = "store"
  role     = aws_iam_role.lambda[each.key].id
  policy   = data.aws_iam_policy_document.read_store.json
}

data "aws_iam_policy_document" "lambda_logs" {
  for_each = local.api

  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.lambda[each.key].arn}:*"]
  }
}

resource "aws_iam_role_policy" "lambda_logs" {
  for_each = local.api
  name     = "logs"
  role     = aws_iam_role.lambda[each.key].id
  policy   = data.aws_iam_policy_document.lambda_logs[each.key].json
}

resource "aws_cloudwatch_log_group" "lambda" {
  for_each          = local.api
  name              = "/aws/lambda/${local.name}-${each.key}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  for_each      = local.api
  function_name = "${local.name}-${each.key}"
  role          = aws_iam_role.lambda[each.key].arn
  package_type  = "Image"
  image_uri     = var.lambda_image
  memory_size   = 1769 # one core
  timeout       = 10

  environment {
    variables = {
      FRAUDSTREAM_STORE       = local.settings.FRAUDSTREAM_STORE
      FRAUDSTREAM_ENVIRONMENT = var.environment
    }
  }

  depends_on = [aws_iam_role_policy.lambda_store, aws_iam_role_policy.lambda_logs]
}

resource "aws_apigatewayv2_api" "this" {
  for_each      = local.api
  name          = local.name
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "this" {
  for_each               = local.api
  api_id                 = aws_apigatewayv2_api.this[each.key].id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_function.this[each.key].invoke_arn
  payload_format_version = "2.0"
}

resource "aws_apigatewayv2_route" "this" {
  for_each           = local.api
  api_id             = aws_apigatewayv2_api.this[each.key].id
  route_key          = "POST /${each.key}"
  authorization_type = "AWS_IAM"
  target             = "integrations/${aws_apigatewayv2_integration.this[each.key].id}"
}

resource "aws_cloudwatch_log_group" "api" {
  for_each          = local.api
  name              = "/fraudstream/${var.environment}/api"
  retention_in_days = var.log_retention_days
}

resource "aws_apigatewayv2_stage" "this" {
  for_each    = local.api
  api_id      = aws_apigatewayv2_api.this[each.key].id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    throttling_rate_limit  = 500
    throttling_burst_limit = 1000
  }

  # Neither the body nor a query: they would be card data.
  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.api[each.key].arn
    format = jsonencode({
      request = "$context.requestId"
      status  = "$context.status"
      latency = "$context.responseLatency"
      error   = "$context.error.message"
    })
  }
}

resource "aws_lambda_permission" "api" {
  for_each      = local.api
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this[each.key].function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this[each.key].execution_arn}/*/POST/${each.key}"
}
