variable "environment" {
  description = "Environment to set up: dev, stage or prod."
  type        = string

  validation {
    condition     = contains(["dev", "stage", "prod"], var.environment)
    error_message = "The environment must be dev, stage or prod."
  }
}

variable "region" {
  description = "Region of the bucket."
  type        = string
  default     = "eu-central-1"
}

variable "report_days" {
  description = "Days after which reports are deleted."
  type        = number
  default     = 90
}
