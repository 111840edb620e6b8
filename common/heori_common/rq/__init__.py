"""What a worker does so that functions written for rq find what rq gives them."""
