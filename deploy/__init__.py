"""What runs fraudstream somewhere: brokers, images, charts."""
