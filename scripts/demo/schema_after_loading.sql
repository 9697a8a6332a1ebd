create index models_of_a_make on models (make_id);
create index cars_of_a_model on cars (model_id, first_registered_on);
create index service_records_of_a_car on service_records (car_id, done_on);
create index listings_of_a_car on listings (car_id);
create index listings_of_a_dealer on listings (dealer_id, status);
create index active_listings_by_price on listings (price_pence) where status = 'active';
create index price_changes_of_a_listing on price_changes (listing_id, changed_at);
create index favourites_of_a_listing on favourites (listing_id);
create index enquiries_of_a_listing on enquiries (listing_id, asked_at);
create index enquiries_of_a_customer on enquiries (customer_id);
create index sales_by_day on sales (sold_at);
create index sales_of_a_customer on sales (customer_id);

create view cars_for_sale as
select listings.id as listing_id, makes.name as make, models.name as model, cars.registration, cars.fuel, cars.mileage,
       listings.price_pence / 100.0 as price, dealers.name as dealer, cities.name as city, listings.listed_at
from listings
join cars on cars.id = listings.car_id
join models on models.id = cars.model_id
join makes on makes.id = models.make_id
join dealers on dealers.id = listings.dealer_id
join cities on cities.id = dealers.city_id
where listings.status = 'active';

create view dealer_performance as
select dealers.id as dealer_id, dealers.name as dealer, count(sales.id) as sold,
       sum(sales.price_pence) / 100.0 as turnover, round(avg(reviews.stars), 2) as stars,
       round(avg(julianday(sales.sold_at) - julianday(listings.listed_at)), 1) as days_to_sell
from dealers
join listings on listings.dealer_id = dealers.id
join sales on sales.listing_id = listings.id
left join reviews on reviews.sale_id = sales.id
group by dealers.id;

create trigger remember_price_change after update of price_pence on listings
when new.price_pence <> old.price_pence
begin
    insert into price_changes (listing_id, changed_at, old_price_pence, new_price_pence)
    values (new.id, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), old.price_pence, new.price_pence);
end;

create trigger close_sold_listing after insert on sales
begin
    update listings set status = 'sold', closed_at = new.sold_at where id = new.listing_id;
end;
